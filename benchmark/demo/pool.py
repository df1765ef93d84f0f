"""The scenes that the demo's backbones learn from, drawn once and kept in memory. No torch, for a fast start."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import ImageReader
from benchmark.data.source import open_source

# Family `b` in full. The evaluation shows kinds of family `a`: the same shapes and textures, but no pair of them that
# is here, so what is scored is transfer. Another seed, so that not even a background is shared.
CLASSES = 30
WORLD = "scenes:?kinds=b&classes={classes}&train={images}&test={classes}&seed={seed}&difficulty={difficulty}"
# (difficulty, seed), a third of the pool each: within minutes, labels of hard scenes alone teach a small network
# nothing. One seed would give the same scenes three times.
CONDITIONS = ((0.1, 20261), (0.3, 20263), (0.5, 20265))
CHUNK = 100  # images per piece of work


@dataclass(frozen=True)
class Pool:
    """Training images.

    Attributes:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64, used by the supervised method alone.
        classes: the number of kinds.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: int

    def __len__(self) -> int:
        return len(self.images)


def _draw(task: tuple[ImageReader, range]) -> NDArray[np.uint8]:
    reader, indices = task
    return np.stack([np.asarray(reader.read(index)).transpose(2, 0, 1) for index in indices])


def draw_pool(
    images: int, classes: int = CLASSES, workers: int = 2, advance: Callable[[int], object] = lambda count: None
) -> Pool:
    """Draws the training scenes (64 x 64), a third under each of `CONDITIONS`.

    Args:
        images: how many, rounded down to a multiple of three.
        classes: number of kinds of family `b`.
        workers: processes; 1 draws in this one.
        advance: called with the number of images drawn since the last call.
    """
    each = images // len(CONDITIONS)
    worlds = [
        WORLD.format(classes=classes, images=each, difficulty=difficulty, seed=seed) for difficulty, seed in CONDITIONS
    ]
    splits = [open_source("pool", world).splits["train"] for world in worlds]
    tasks = [
        (split.reader, range(start, min(start + CHUNK, each))) for split in splits for start in range(0, each, CHUNK)
    ]
    if workers <= 1:
        pixels = _gather(map(_draw, tasks), advance)
    else:
        # Spawned, not forked: a forked child may inherit a lock that one of the parent's threads held.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
            pixels = _gather(executor.map(_draw, tasks), advance)
    return Pool(pixels, np.concatenate([split.targets for split in splits]), classes)


def _gather(chunks: Iterable[NDArray[np.uint8]], advance: Callable[[int], object]) -> NDArray[np.uint8]:
    drawn = []
    for chunk in chunks:
        drawn.append(chunk)
        advance(len(chunk))
    return np.concatenate(drawn)
