"""The settings of a protocol, typed: what a suite names, a result stores and `list protocols` shows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ProtocolSettings(BaseModel):
    """The settings of a protocol; a task subclasses it with its own fields.

    Attributes:
        name: `family/variant` as in the literature's usage (`knn/dino`).
        version: raised whenever a change of code or setting changes the figures.
        representation: a named representation, or `default` for the backbone's own.
        crop_pct: pins the crop fraction (centre crop over resized short side); None leaves it to the checkpoint.
        paper: True where hyper-parameters are selected on the reported split, as some papers do; tables mark it.
        summary: one line for `list protocols`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = 1
    representation: str = "default"
    crop_pct: float | None = None
    paper: bool = False
    summary: str = ""


class DenseSettings(ProtocolSettings):
    """The settings of a protocol on stored patch maps of whole images.

    Attributes:
        size: side in pixels of the square that every image is squashed to, rounded down to whole cells of the encoder;
            None for the size of the checkpoint's own preprocessing.
        layers: how many of the last layers it sees.
        train_images: learn from this many images at most: those first in the order of a digest of their ids, so the
            same ones for every checkpoint and seed; None for all of them.
    """

    representation: str = "patch"
    size: int | None = 448
    layers: int = 1
    train_images: int | None = None


class ImageSettings(ProtocolSettings):
    """The settings of a protocol that reads the images itself: it resizes and crops, and may train the encoder.

    Attributes:
        size: side in pixels of the square that an encoder of one size is opened for, rounded down to whole cells of it.
        train_images: as for `DenseSettings`.
    """

    representation: str = "patch"
    size: int = 224
    train_images: int | None = None


class HeadSettings(ProtocolSettings):
    """The settings of a protocol that judges images by one classifier.

    Attributes:
        head: `probe`, the linear task's, fitted on the features of train; `mean`, the nearest class mean of them; or
            the checkpoint's `own` supervised one, on the representation that it was trained on: then nothing of train
            is encoded.
    """

    head: Literal["probe", "mean", "own"] = "probe"
