"""Random numbers that are the same everywhere: raw PCG64 words turned into numbers by exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]  # float32 everywhere; NumPy's stubs lose track of it


class Draws:
    """A stream of uniform numbers that depends on `entropy` alone.

    Only the raw words of the bit generator are used: NumPy promises those (and `SeedSequence`) for good, but not the
    streams of `Generator`'s distributions.

    Args:
        entropy: non-negative integers.
    """

    def __init__(self, entropy: Sequence[int]) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(entropy)))

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Numbers in [0, 1) of the given shape: the top 53 bits of a word each."""
        words: Any = self._bits.random_raw(math.prod(shape))
        return ((words >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        """Uniform bytes of the given shape, eight to a word, lowest first."""
        count = math.prod(shape)
        words: Any = self._bits.random_raw(-(-count // 8))
        return np.asarray(words.astype("<u8").view(np.uint8)[:count].reshape(shape))


def between(low: float, high: float, u: float) -> float:
    """The point a fraction `u` of the way from `low` to `high`."""
    return low + (high - low) * u


def clamp(values: Array) -> Array:
    """`values` limited to [0, 1] (twice as fast as `np.clip` on small arrays)."""
    return np.minimum(np.maximum(values, 0), 1)
