"""Reading the masks of a split in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from benchmark.data.annotations import MaskReader
from benchmark.errors import DataError
from benchmark.features.workers import decoded, default_workers

_FEW = 64  # below this many masks, starting workers costs more than it saves


class _Masks(TorchDataset[np.ndarray | DataError]):
    """What a worker does: read a mask and, with a size, pick the pixels nearest to the centres of its cells."""

    def __init__(self, reader: MaskReader, rows: Sequence[int] | np.ndarray, size: tuple[int, int] | None) -> None:
        self.reader, self.rows, self.size = reader, rows, size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray | DataError:
        try:
            mask = self.reader.mask(int(self.rows[index]))
        except DataError as error:
            return error
        return mask if self.size is None else nearest(mask, self.size)


def nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) of (H, W) values by nearest neighbour: the pixel that holds the centre of each new one, as in Pillow.

    In whole numbers, so that a centre on the edge of two pixels takes the later one (in Pillow, rounding decides).
    """
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(values.shape, size, strict=True))
    return values[rows[:, None], columns]


def read_masks(
    reader: MaskReader, rows: Sequence[int] | np.ndarray, size: tuple[int, int] | None, workers: int | None
) -> Iterator[np.ndarray]:
    """The masks (H, W) uint16 at `rows` in order, as they are stored or brought to `size`, read in worker processes.

    Raises:
        DataError: a mask that cannot be read, of another size than its image, or with a value that is no class.
    """
    count = default_workers() if workers is None else workers
    for found in decoded(
        _Masks(reader, rows, size), 0 if len(rows) < _FEW else count, "mask {}".format, batch_size=None
    ):
        if isinstance(found, DataError):
            raise found
        yield np.asarray(found)
