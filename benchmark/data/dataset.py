"""What a dataset is to the rest of the harness: named splits of images with stable ids and targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmark.data.fingerprint import combine


@runtime_checkable
class ImageReader(Protocol):
    """Random access to the images of a split. Picklable, so that worker processes can have it."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def read(self, index: int) -> Image.Image:
        """Image `index` as an 8-bit RGB `PIL.Image`.

        Raises:
            DataError: the image cannot be decoded; names the image and the reason.
        """
        ...


@dataclass(frozen=True)
class Split:
    """One split of a dataset.

    Attributes:
        name: `train`, `val` or `test`.
        ids: (N,) Arrow strings, unique and stable between runs and machines (a relative path, a key).
        targets: (N,) int64 class index, or (N, C) uint8 in {0, 1} where the dataset is multi-label.
        reader: the images, in the order of `ids`.
        fingerprint: hex digest of ids, targets, sizes and sampled contents: equal wherever the same data is.
        state: hex digest that also changes when any file is touched (size, times): what stored features are keyed by.
    """

    name: str
    ids: pa.Array
    targets: np.ndarray
    reader: ImageReader
    fingerprint: str
    state: str

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Dataset:
    """A dataset as a source gives it.

    Attributes:
        name: the user's name for it (the left of `NAME=SOURCE`).
        source: the source as written, with its options.
        classes: class names in the order of the target indices.
        splits: `train`, the reported split (`test` or `val`) and, where both exist, `val` for selection.
        reported: the name of the split on which figures are reported.
        multilabel: whether targets are (N, C) indicators.
        notices: things a reader of the results should know (e.g. a class that no reported image has).
    """

    name: str
    source: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    reported: str
    multilabel: bool = False
    notices: tuple[str, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """Digest of the train and reported splits' fingerprints and of the class list (see `data.fingerprint`)."""
        parts = [f"{name}:{split.fingerprint}" for name, split in sorted(self.splits.items())]
        return combine([*parts, *self.classes, self.reported])
