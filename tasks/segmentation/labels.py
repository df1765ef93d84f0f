"""Masks as the encoder sees their images: squashed to its input, pixel by pixel; and masks as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmark.data.annotations import IGNORE
from benchmark.errors import DataError
from benchmark.features.loader import default_workers
from benchmark.task import DenseSplit

_FEW = 64  # below this many masks, starting workers costs more than it saves
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


class _Masks(TorchDataset[np.ndarray | DataError]):
    """What a worker does: read a mask and, with a size, pick the pixels nearest to the centres of its cells."""

    def __init__(self, split: DenseSplit, size: tuple[int, int] | None) -> None:
        self.split, self.size = split, size

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> np.ndarray | DataError:
        try:
            mask = self.split.masks.mask(int(self.split.rows[index]))
        except DataError as error:
            return error
        return mask if self.size is None else nearest(mask, self.size)


def nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) of (H, W) values by nearest neighbour: the pixel that holds the centre of each new one, as in Pillow.

    In whole numbers, so that a centre on the edge of two pixels takes the later one (in Pillow, rounding decides).
    """
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(values.shape, size, strict=True))
    return values[rows[:, None], columns]


def masks_of(split: DenseSplit, size: tuple[int, int] | None, workers: int | None) -> Iterator[np.ndarray]:
    """The masks (H, W) uint16 of a split in order, as they are stored or brought to `size`.

    Raises:
        DataError: a mask that cannot be read, of another size than its image, or with a value that is no class.
    """
    count = default_workers() if workers is None else workers
    loader = DataLoader(
        _Masks(split, size),
        batch_size=None,
        num_workers=0 if len(split) < _FEW else count,
        worker_init_fn=_single_thread,
    )
    for found in loader:
        if isinstance(found, DataError):
            raise found
        yield np.asarray(found)


def _single_thread(worker: int) -> None:
    torch.set_num_threads(1)


def squares_of(
    split: DenseSplit,
    size: tuple[int, int],
    classes: int,
    workers: int | None,
    progress: Callable[[int, int, str], None],
) -> Squares:
    """All masks of a split at the size that the encoder saw, held in memory (0.2 MB each at 448 x 448).

    Raises:
        DataError: see `masks_of`; or no pixel of the split has a class.
    """
    small = classes <= _BYTE
    ignore = _BYTE if small else IGNORE
    values = torch.empty(len(split), *size, dtype=torch.uint8 if small else torch.int32)
    for index, mask in enumerate(masks_of(split, size, workers)):
        kept = np.where(mask == IGNORE, ignore, mask)
        values[index] = torch.from_numpy(kept.astype(np.uint8 if small else np.int32))
        progress(index + 1, len(split), "masks")
    if bool((values == ignore).all()):
        raise DataError("labelled pixels in train", "none, all are to be ignored", "check labels= and ignore=")
    return Squares(values, ignore, classes)
