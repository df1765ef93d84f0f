"""Images from a split to uint8 batches at the evaluated size, decoded in worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.dataset import ImageReader
from benchmark.errors import DataError

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


_NICE = 10
"""Decoding yields to a forward pass on the same cores, whose threads wait for each other, and fills what it leaves."""


def quiet_worker(worker: int) -> None:
    """How a decoding process begins (`worker_init_fn` of a DataLoader): one thread, behind whoever computes."""
    torch.set_num_threads(1)  # decoding is single-threaded; a pool per worker would fight the forward pass
    os.nice(_NICE)


def default_workers() -> int:
    """One decoding process per core that this process may use, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def batches(
    reader: ImageReader,
    preprocessing: Preprocessing,
    positions: Sequence[int],
    *,
    batch_size: int,
    workers: int | None,
    pin: bool,
) -> Iterator[Batch]:
    """Batches of the images at `positions`, in order."""
    count = default_workers() if workers is None else workers
    if len(positions) < _FEW:
        count = 0
    loader = DataLoader(
        _Decoded(reader, preprocessing, positions),
        batch_size=batch_size,
        num_workers=count,
        collate_fn=_collate,
        pin_memory=pin,
        worker_init_fn=quiet_worker,
        prefetch_factor=2 if count else None,
    )
    yield from loader
