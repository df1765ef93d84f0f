"""Small worlds of patch maps and masks, in files as the store has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmark.features.maps import PatchMaps
from benchmark.task import DenseInputs, DenseSplit


@dataclass(frozen=True)
class ListedMasks:
    """Masks in memory."""

    masks: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.masks)

    def mask(self, index: int) -> np.ndarray:
        return self.masks[index]


def stored(maps: Tensor, chunk: int = 4) -> PatchMaps:
    """(N, D, h, w) maps as the store gives them back: float16, a few images per chunk."""
    parts = maps.flatten(1).split(chunk)
    arrays = tuple((part * 2).half().numpy() for part in parts)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return PatchMaps((maps.shape[1], maps.shape[2], maps.shape[3]), arrays, (0.5,) * len(parts), starts)


def split(maps: Sequence[Tensor], masks: Sequence[np.ndarray], name: str) -> DenseSplit:
    ids = pa.array([f"{name}/{index}" for index in range(len(masks))])
    return DenseSplit(ids, tuple(map(stored, maps)), ListedMasks(tuple(masks)), np.arange(len(masks)))


def world(
    train: int = 24, test: int = 9, classes: int = 4, grid: int = 4, patch: int = 4, noise: float = 1.0, layers: int = 1
) -> DenseInputs:
    """Patches whose features say their class, in masks twice as large as what the encoder saw and a little oblong."""
    rng = np.random.default_rng(0)
    centres = torch.from_numpy(rng.normal(size=(classes, 6))).float()
    parts = []
    for count, name in ((train, "train"), (test, "test")):
        cells = rng.integers(0, classes, (count, grid, grid))
        maps = [
            (centres[cells] + noise * torch.from_numpy(rng.normal(size=(count, grid, grid, 6))).float()).permute(
                0, 3, 1, 2
            )
            for _ in range(layers)
        ]
        masks = [np.kron(cell, np.ones((2 * patch, 3 * patch))).astype(np.uint16) for cell in cells]
        for mask in masks:
            mask[rng.random(mask.shape) < 0.1] = 65535
        parts.append(split(maps, masks, name))
    names = tuple(f"c{index}" for index in range(classes))
    size = (grid * patch, grid * patch)
    return DenseInputs("world", parts[0], parts[1], names, size, torch.device("cpu"), workers=0)
