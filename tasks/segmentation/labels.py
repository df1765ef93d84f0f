"""Masks as the encoder sees their images: squashed to its input, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.data.annotations import IGNORE
from benchmark.errors import DataError
from benchmark.features.masks import read_masks
from benchmark.task import DenseSplit

_BYTE = 255


@dataclass(frozen=True)
class Squares:
    """Masks of equal size.

    Attributes:
        values: (N, H, W) class of every pixel, or `ignore`; one byte each where classes allow it.
        ignore: the value of pixels without a class.
        classes: C.
    """

    values: Tensor
    ignore: int
    classes: int

    def __len__(self) -> int:
        return len(self.values)


def squares_of(
    split: DenseSplit,
    size: tuple[int, int],
    classes: int,
    workers: int | None,
    progress: Callable[[int, int, str], None],
) -> Squares:
    """All masks of a split at the size that the encoder saw, held in memory (0.2 MB each at 448 x 448).

    Raises:
        DataError: see `read_masks`; or no pixel of the split has a class.
    """
    small = classes <= _BYTE
    ignore = _BYTE if small else IGNORE
    values = torch.empty(len(split), *size, dtype=torch.uint8 if small else torch.int32)
    for index, mask in enumerate(read_masks(split.masks, split.rows, size, workers)):
        kept = np.where(mask == IGNORE, ignore, mask)
        values[index] = torch.from_numpy(kept.astype(np.uint8 if small else np.int32))
        progress(index + 1, len(split), "masks")
    if bool((values == ignore).all()):
        raise DataError("labelled pixels in train", "none, all are to be ignored", "check labels= and ignore=")
    return Squares(values, ignore, classes)
