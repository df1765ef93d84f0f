"""What a dataset is to the rest of the harness: named splits of images with stable ids and targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmark.data.annotations import KINDS, Kind, MaskReader, ObjectReader
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
        targets: (N,) int64 class index, or (N, C) uint8 in {0, 1} where the dataset is multi-label; (N, 0) uint8 where
            images have no labels of their own (see `Dataset.kinds`).
        reader: the images, in the order of `ids`.
        fingerprint: hex digest of ids, targets, sizes and sampled contents, annotations and their class names included:
            equal wherever the same data is.
        state: hex digest that also changes when any image is touched (size, times): what stored features are keyed by.
        masks, objects: annotations of the images, where there are any.
    """

    name: str
    ids: pa.Array
    targets: np.ndarray
    reader: ImageReader
    fingerprint: str
    state: str
    masks: MaskReader | None = None
    objects: ObjectReader | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Collection:
    """Images of known classes that nothing is learned from.

    Attributes:
        split: all of them.
        classes: class names in the order of the target indices.
        multilabel: whether targets are (N, C) indicators.
        notices: as of a `Dataset`.
        variants: where they are changed versions of the same images, the names of the changes: the images of each
            stand together and in the same order.
    """

    split: Split
    classes: tuple[str, ...]
    multilabel: bool = False
    notices: tuple[str, ...] = field(default=())
    variants: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Shift:
    """What the split `shifted` of a dataset is: images from elsewhere.

    Attributes:
        source: where they come from, as written.
        classes: K class names of their own, in the order of that split's target indices.
        accepted: (K, C) bool, which of the dataset's classes count as right for each of them; None where
            nothing does: they are something else.
        variants: as of a `Collection`: they are changed versions of the dataset's own reported images.
    """

    source: str
    classes: tuple[str, ...]
    accepted: np.ndarray | None
    variants: tuple[str, ...] = field(default=())

    def accepted_of(self, targets: np.ndarray) -> np.ndarray:
        """(N, C) bool, which of the dataset's classes count as right for each image.

        Args:
            targets: (N,) int64 indices into `classes`, or (N, K) indicators.
        """
        if self.accepted is None:
            raise ValueError("a shift without a class in common")
        if targets.ndim == 1:
            return np.asarray(self.accepted[targets], bool)
        return np.asarray(targets.astype(np.float32) @ self.accepted.astype(np.float32) > 0)


@dataclass(frozen=True)
class Dataset:
    """A dataset as a source gives it.

    Attributes:
        name: the user's name for it (the left of `NAME=SOURCE`).
        source: the source as written, with its options.
        classes: class names in the order of the target indices; none where images have no labels of their own.
        splits: `train`, the reported split (`test` or `val`) and, where both exist, `val` for selection; `shifted`
            where there is a `shift`.
        reported: the name of the split on which figures are reported.
        multilabel: whether targets are (N, C) indicators.
        notices: things a reader of the results should know (e.g. a class that no reported image has).
        mask_classes: names of the classes of pixels, in the order of their indices; none without masks.
        object_classes: names of the classes of objects; none without objects.
        shift: what the split `shifted` is, where there is one.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    reported: str
    multilabel: bool = False
    notices: tuple[str, ...] = field(default=())
    mask_classes: tuple[str, ...] = field(default=())
    object_classes: tuple[str, ...] = field(default=())
    shift: Shift | None = None

    @property
    def kinds(self) -> frozenset[Kind]:
        """What is known of its images."""
        return frozenset(kind for kind in KINDS if self.classes_of(kind))

    def classes_of(self, kind: Kind) -> tuple[str, ...]:
        """Class names of one kind of annotation; none where the dataset has none of it."""
        return {"labels": self.classes, "masks": self.mask_classes, "objects": self.object_classes}[kind]

    @property
    def fingerprint(self) -> str:
        """Digest of the train and reported splits' fingerprints and of the class list (see `data.fingerprint`)."""
        parts = [f"{name}:{split.fingerprint}" for name, split in sorted(self.splits.items())]
        return combine([*parts, *self.classes, self.reported])
