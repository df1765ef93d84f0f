"""Images from a split to uint8 batches at the evaluated size, decoded in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.dataset import ImageReader
from benchmark.errors import DataError
from benchmark.features.workers import decoded, default_workers

_FEW = 64
"""Below this many images, starting workers costs more than it saves."""


@dataclass(frozen=True)
class Batch:
    """Decoded images.

    Attributes:
        images: (B, 3, H, W) uint8 RGB.
        positions: (B,) positions within the split.
        bad: position -> why, for images of this batch that could not be read.
    """

    images: Tensor
    positions: list[int]
    bad: dict[int, str]


class _Decoded(TorchDataset[tuple[int, np.ndarray | None, str]]):
    """What a worker does: read, resize and crop exactly as the preprocessing says."""

    def __init__(self, reader: ImageReader, preprocessing: Preprocessing, positions: Sequence[int]) -> None:
        self.reader, self.preprocessing, self.positions = reader, preprocessing, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | None, str]:
        position = self.positions[index]
        try:
            return position, self.preprocessing.geometry(self.reader.read(position)), ""
        except DataError as error:
            return position, None, error.found


def _collate(items: list[tuple[int, np.ndarray | None, str]]) -> Batch:
    good = [(position, array) for position, array, _ in items if array is not None]
    images = np.stack([array for _, array in good]) if good else np.empty((0, 3, 1, 1), np.uint8)
    bad = {position: reason for position, array, reason in items if array is None}
    return Batch(torch.from_numpy(images), [position for position, _ in good], bad)


def batches(
    reader: ImageReader,
    preprocessing: Preprocessing,
    positions: Sequence[int],
    *,
    batch_size: int,
    workers: int | None,
    pin: bool,
) -> Iterator[Batch]:
    """Batches of the images at `positions`, in order.

    Raises:
        DataError: a decoding process hangs or died; names the images that it was to read.
    """
    count = default_workers() if workers is None else workers
    if len(positions) < _FEW:
        count = 0
    ids = getattr(reader, "ids", None)

    def where(batch: int) -> str:
        here = positions[batch * batch_size : (batch + 1) * batch_size]
        names = [f"number {at}" if ids is None else ids[at].as_py() for at in (here[0], here[-1])]
        return f"images {names[0]} to {names[1]}"

    yield from decoded(
        _Decoded(reader, preprocessing, positions),
        count,
        where,
        batch_size=batch_size,
        collate_fn=_collate,
        pin_memory=pin,
        prefetch_factor=2 if count else None,
    )
