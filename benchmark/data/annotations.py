"""What may be known of an image beside its labels: the class of every pixel, the objects in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Kind = Literal["labels", "masks", "objects"]
"""What can be known of an image: its class or classes, the class of every pixel, the objects in it."""
KINDS: tuple[Kind, ...] = ("labels", "masks", "objects")

IGNORE = 65535
"""In a mask: a pixel whose class is unknown. It is neither learned from nor scored."""


@runtime_checkable
class MaskReader(Protocol):
    """Random access to the masks of a split, in the order of its images. Picklable and lazy, as `ImageReader`."""

    def __len__(self) -> int:
        """The number of masks."""
        ...

    def mask(self, index: int) -> np.ndarray:
        """(H, W) uint16 class of every pixel of image `index` as it is stored (EXIF orientation ignored), or `IGNORE`.

        Raises:
            DataError: the mask cannot be read, or holds a value that is no class; names the file and the value.
        """
        ...


@dataclass(frozen=True)
class Objects:
    """The objects of one image, K of them (there may be none).

    Attributes:
        boxes: (K, 4) float64 x0, y0, x1, y1 in pixels of the image as it is stored; 0 is the left or upper edge of its
            first pixel, x1 and y1 the far edges.
        labels: (K,) int64 class indices.
        crowd: (K,) bool: a region of several objects that are not told apart; finding any of them is no mistake.
        difficult: (K,) bool: an object that neither has to be found nor counts as a mistake when it is (VOC).
        areas: (K,) float64 pixels: as annotated (COCO), else those of the box.
        segments: (K,) masks as run lengths (see `data.runlength`), or None without.
        size: (h, w) of the image as it is stored.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    areas: np.ndarray
    segments: tuple[NDArray[np.int64], ...] | None
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.labels)


@runtime_checkable
class ObjectReader(Protocol):
    """Random access to the objects of a split, in the order of its images. Picklable and lazy, as `ImageReader`."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """(h, w) of image `index` as its annotation says, without opening it."""
        ...

    def count(self, index: int) -> int:
        """How many objects image `index` has, crowds not counted; reads nothing."""
        ...

    def objects(self, index: int) -> Objects:
        """The objects of image `index`.

        Raises:
            DataError: an annotation that cannot be read or makes no sense; names the file and the id.
        """
        ...
