"""The published operators fed with numbers of our choice, and pictures to feed both sides with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from imagecorruptions import corruptions as published
from numba import njit
from PIL import Image
from torch import Tensor

SIZES = ((224, 224), (61, 97), (150, 64), (33, 32))  # (height, width): usual, odd, tall, the smallest
Draws = dict[str, Callable[..., Any]]
numbas = np.random  # in compiled functions numba puts a generator of its own in its place


def pictures(height: int, width: int, count: int = 3) -> np.ndarray:
    """Photo-like pictures uint8 (count, height, width, 3), each with the places where rounding shows.

    Structure at several scales; then a white area, an area of one colour, a grey one, a smooth gradient and raw noise.
    """
    rng = np.random.default_rng(0)
    result = []
    for index in range(count):
        total = np.zeros((height, width, 3))
        for cells, weight in ((3, 1.0), (9, 0.6), (30, 0.4)):
            small = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            total += weight * np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
        x = (total / 2 + rng.normal(0, 4, total.shape)).clip(0, 255).astype(np.uint8)
        half, third = height // 2, width // 3
        if index == 0:
            x[:half, :third], x[:half, third : 2 * third] = 255, (10, 200, 90)
        elif index == 1:
            x[half:, :third] = np.arange(third)[:, None] + np.array([40, 41, 42])
            x[half:, third : 2 * third] = rng.integers(0, 256, (height - half, third, 1))
        else:
            x[half:] = rng.integers(0, 256, (height - half, width, 3))
        result.append(x)
    return np.stack(result)


def tensor(images: np.ndarray) -> Tensor:
    """(B, H, W, ...) as (B, ..., H, W)."""
    return torch.from_numpy(np.moveaxis(images, -1, 1).copy() if images.ndim == 4 else images)


@contextmanager
def numbers(**functions: Callable[..., Any]) -> Iterator[None]:
    """Replaces functions of `numpy.random`."""
    kept = {name: getattr(np.random, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(np.random, name, function)
        yield
    finally:
        for name, function in kept.items():
            setattr(np.random, name, function)


def theirs(
    name: str, images: np.ndarray, severity: int, draws: Callable[[int], Draws] | None = None, **more: Any
) -> Tensor:
    """The published operator on every image, `draws(index)` in place of NumPy's functions: uint8 (B, 3, H, W)."""
    results = []
    for index, image in enumerate(images):
        with numbers(**(draws(index) if draws else {})):
            found = getattr(published, name)(Image.fromarray(image), severity, **more)
        results.append(np.uint8(found))
    return tensor(np.stack(results))


@njit
def glass_moves(height: int, width: int, reach: int, rounds: int, seed: int) -> np.ndarray:
    """The moves that the published compiled loop draws from a seed, by pixel: int32 (rounds, height, width, 2)."""
    numbas.seed(seed)
    moves = np.zeros((rounds, height, width, 2), np.int32)
    for turn in range(rounds):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                moves[turn, row, column] = numbas.randint(-reach, reach, size=(2,))
    return moves


def in_turn(values: np.ndarray) -> Callable[..., Any]:
    """`uniform(low, high, shape)` that hands out numbers of [0, 1) in their order, stretched."""
    used = 0

    def uniform(low: float, high: float, size: Any) -> Any:
        nonlocal used
        count = int(np.prod(size))
        part = values.reshape(-1)[used : used + count].reshape(size)
        used += count
        return low + (high - low) * part

    return uniform
