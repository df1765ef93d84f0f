"""The Task contract: a declaration and one method from features to predictions.

A task never scores itself. It names a scorer (`benchmark.metrics`), which the run, `verify` and the release gate call
on the same stored predictions, so that a figure has one definition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmark.backbones.backbone import Backbone, Head
from benchmark.data.annotations import Kind, MaskReader
from benchmark.data.dataset import Shift, Split
from benchmark.errors import NotApplicable
from benchmark.features.maps import PatchMaps
from benchmark.protocol import DenseSettings, ImageSettings, ProtocolSettings

Need = Literal["pooled", "patch", "backbone", "head"]


@dataclass(frozen=True)
class SplitFeatures:
    """A split as a frozen task sees it.

    Attributes:
        features: (N, D) float32 on the run's device.
        targets: (N,) int64 class indices, or (N, C) float32 indicators for multi-label data; same device. Of shifted
            images, in classes of their own (see `Shift`).
        ids: (N,) Arrow strings.
    """

    features: Tensor
    targets: Tensor
    ids: pa.Array

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def none(cls, device: torch.device) -> SplitFeatures:
        """Of no image."""
        return cls(
            torch.empty(0, 0, device=device), torch.empty(0, dtype=torch.long, device=device), pa.array([], pa.string())
        )


@dataclass(frozen=True)
class Labels:
    """What is known of a dataset before any image is encoded.

    Attributes:
        train, reported: (N,) int64 class indices, or (N, C) uint8 indicators.
        classes: class names by target index.
        multilabel: whether targets are indicators.
        shift: of a dataset with shifted images, what they are.
        shifted: those images, with targets in classes of their own.
    """

    train: np.ndarray
    reported: np.ndarray
    classes: tuple[str, ...]
    multilabel: bool = False
    shift: Shift | None = None
    shifted: Split | None = None


@dataclass(frozen=True)
class Inputs:
    """What the runner hands to `Task.predict`.

    Attributes:
        dataset: the dataset's name (a few protocols choose their metric by it).
        train, test: the training split and the reported split (whatever it is called).
        val: the dataset's own selection split, where it has one beside the reported one.
        classes: class names by target index.
        multilabel: whether targets are indicators.
        device: where tensors are and work should happen.
        head: the checkpoint's supervised head, for tasks that declare the need.
        representation: the name of what `features` are.
        shifted, shift: images from elsewhere, and what they are to the classes; for tasks that ask for a shift.
        progress: `progress(done, total, what)`, callable any number of times; drives the bar.
    """

    dataset: str
    train: SplitFeatures
    test: SplitFeatures
    classes: tuple[str, ...]
    device: torch.device
    val: SplitFeatures | None = None
    multilabel: bool = False
    head: Head | None = None
    representation: str = ""
    shifted: SplitFeatures | None = None
    shift: Shift | None = None
    progress: Callable[[int, int, str], None] = lambda done, total, what: None


@dataclass(frozen=True)
class DenseSplit:
    """A split as a task on patch maps sees it: N images that could be read.

    Attributes:
        ids: (N,) Arrow strings.
        maps: of the last layers, first to last, (D, h, w) each and one per image.
        masks: of all images of the split, read when asked for.
        rows: (N,) int64 the place of each image in `masks`.
    """

    ids: pa.Array
    maps: tuple[PatchMaps, ...]
    masks: MaskReader
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class DenseInputs:
    """What the runner hands to a task that needs `patch`.

    Attributes:
        dataset: the dataset's name.
        train, test: the training split and the reported split.
        classes: class names of the annotation that the task learns.
        size: (h, w) in pixels of what the encoder saw of every image: all of it, squashed.
        device: where the work should happen.
        workers: decoding processes; None for one per core.
        progress: as for `Inputs`.
    """

    dataset: str
    train: DenseSplit
    test: DenseSplit
    classes: tuple[str, ...]
    size: tuple[int, int]
    device: torch.device
    workers: int | None = None
    progress: Callable[[int, int, str], None] = lambda done, total, what: None


@dataclass(frozen=True)
class ImageInputs:
    """What the runner hands to a task that needs `backbone`: images, and an encoder that it may copy and train.

    Attributes:
        dataset: the dataset's name.
        train, test: the training split (as many of its images as the protocol takes) and the reported split.
        val: the dataset's own selection split, where it has one beside the reported one.
        shifted: images from elsewhere, for tasks that ask for a shift.
        classes: class names of the annotation that the task learns.
        backbone: the loaded encoder, opened for the protocol's `size` where it is bound to one.
        device: where the work should happen.
        scratch: a folder of this cell's own for what a stopped run goes on from; it may not exist yet, and is removed
            once the cell is stored.
        batch_size: images per forward pass of what is not trained: speed only.
        workers: decoding processes; None for one per core.
        progress: as for `Inputs`.
    """

    dataset: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    backbone: Backbone
    device: torch.device
    scratch: Path
    val: Split | None = None
    shifted: Split | None = None
    batch_size: int = 64
    workers: int | None = None
    progress: Callable[[int, int, str], None] = lambda done, total, what: None


@dataclass(frozen=True)
class ShiftInputs:
    """What the runner hands to a task that needs `pooled` and `backbone`: it fits on features and changes images.

    Attributes:
        features: of the images as they are.
        images: the same images, in the same order, with the encoder as its own preprocessing has it.
    """

    features: Inputs
    images: ImageInputs


@dataclass(frozen=True)
class Predictions:
    """What `Task.predict` returns and the store keeps.

    Attributes:
        table: one row per prediction, in the scorer's columns (see `benchmark.metrics`).
        selection: how hyper-parameters were chosen: `none`, `train-10%`, `val`, `train-3fold`, `reported-split` ...
        selection_n: the number of samples that selection looked at (0 with `none`).
        details: JSON-able facts worth keeping: the chosen setting, the selection curve, classes left out and why.
    """

    table: pa.Table
    selection: str = "none"
    selection_n: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


class Task(ABC):
    """A transfer evaluation. Subclasses declare; `predict` is the only code they must bring.

    Class attributes:
        name: as on the command line.
        version: raised when the task's figures change under unchanged protocols.
        summary: one line for `list tasks`.
        needs: what the runner must prepare: `pooled` features make it an `Inputs`, `patch` maps a `DenseInputs`, the
            `backbone` an `ImageInputs`, `pooled` and `backbone` both a `ShiftInputs`. A protocol may have needs of its
            own, see `needs_of`.
        learns: the kind of annotation that it learns and is judged on.
        scorer: the scorer's registered name (`classification`).
        headline: the metric that stands for the task in a wide table (`top1@k20`); a protocol that lacks it names
            its own through `headline_of`.
        protocols: name -> settings; the first is the default.
        multilabel: whether the task has a meaning where an image has several labels.
        stochastic: whether the seed changes the outcome; a task where it does not is run once.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str] = ""
    needs: ClassVar[tuple[Need, ...]] = ("pooled",)
    learns: ClassVar[Kind] = "labels"
    scorer: ClassVar[str] = "classification"
    headline: ClassVar[str] = "top1"
    protocols: ClassVar[Mapping[str, ProtocolSettings]]
    multilabel: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True

    def needs_of(self, protocol: ProtocolSettings) -> tuple[Need, ...]:
        """What the runner must prepare for a protocol."""
        return self.needs

    def reads_train(self, protocol: ProtocolSettings) -> bool:
        """Whether anything is fitted; where not, the training images are not encoded and `Inputs.train` is empty."""
        return True

    def asks_shift(self, protocol: ProtocolSettings) -> bool:
        """Whether a protocol is about a pair of sources (`Dataset.shift`): then it runs on pairs only, else never."""
        return False

    def reads_shifted(self, protocol: ProtocolSettings) -> bool:
        """Whether it wants features of the shifted images, rather than the images themselves."""
        return True

    def scorer_of(self, protocol: ProtocolSettings, multilabel: bool) -> str:
        """The scorer's name for a protocol and kind of labels."""
        return "multilabel" if multilabel else self.scorer

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """The headline metric (`mAP` where labels are not exclusive; some protocols choose it by dataset name)."""
        return "mAP" if multilabel else self.headline

    def check(self, protocol: ProtocolSettings, labels: Labels) -> None:
        """Says before anything runs whether the task makes sense on a dataset with these labels.

        Asked of tasks that learn labels, on datasets that have them.

        Raises:
            NotApplicable: it does not; the cell is listed and skipped.
        """
        if labels.multilabel and not self.multilabel:
            raise NotApplicable("one label per image", "a multi-label dataset", f"{self.name} has no meaning there")

    def check_encoder(self, protocol: ProtocolSettings, backbone: Backbone) -> None:
        """Says before anything runs whether a protocol can be run on an encoder, opened for its size.

        Raises:
            NotApplicable: it cannot, here for want of maps; the cell is listed and skipped.
        """
        if not isinstance(protocol, DenseSettings | ImageSettings):
            return
        layers = protocol.layers if isinstance(protocol, DenseSettings) else 1
        if backbone.depth < layers:
            found = f"{backbone.depth} in {backbone.arch}"
            raise NotApplicable(f"maps of {layers} layers", found, "use another protocol")

    @abstractmethod
    def predict(self, inputs: Any, protocol: Any, seed: int) -> Predictions:
        """Fits on `inputs.train`, predicts `inputs.test`.

        Args:
            inputs: `Inputs`, `DenseInputs` or `ImageInputs`, by what the task needs.
            protocol: one of `protocols` (possibly with the user's overrides), of the task's own settings class.
            seed: for every random choice; equal seeds give equal predictions.
        """
