"""Surface patterns: each maps positions (in periods) to a mix in [0, 1] of two colours.

Every pattern covers about half of the surface, so that neither an average nor a histogram of colours tells them apart.
Like `shapes`, only correctly rounded operations are used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmark.data.scenes.draws import Array, clamp

LATTICE = 16  # side of the periodic random lattice behind `blotched`


def _wave(v: Array) -> Array:
    """A triangle wave of period 1 between -1 and 1."""
    return np.abs(v - np.floor(v) - 0.5) * 4 - 1


def _edge(signed: Array, sharpness: float) -> Array:
    """A soft threshold at 0."""
    return clamp(signed * sharpness + 0.5)


def striped(x: Array, y: Array, period: float, lattice: Array) -> Array:
    """Parallel bands."""
    return _edge(_wave(x), period / 4)


def checked(x: Array, y: Array, period: float, lattice: Array) -> Array:
    """A chessboard."""
    a, b = _edge(_wave(x), period / 4), _edge(_wave(y), period / 4)
    return a * b + (1 - a) * (1 - b)


def dotted(x: Array, y: Array, period: float, lattice: Array) -> Array:
    """Discs on a square lattice; a radius of sqrt(1 / 2 pi) covers half."""
    dx, dy = x - np.floor(x) - 0.5, y - np.floor(y) - 0.5
    return _edge(0.399 - np.sqrt(dx * dx + dy * dy), period)


def ringed(x: Array, y: Array, period: float, lattice: Array) -> Array:
    """Concentric bands."""
    return _edge(_wave(np.sqrt(x * x + y * y)), period / 4)


def zigzag(x: Array, y: Array, period: float, lattice: Array) -> Array:
    """Bands that change direction."""
    return _edge(_wave(x + 0.5 * _wave(y * 0.5)), period / 5)


def _cell(v: Array) -> tuple[Array, NDArray[np.int32], NDArray[np.int32]]:
    """Smoothed position within a lattice cell and the indices of the cell's two ends."""
    start = np.floor(v)
    f = v - start
    low = start.astype(np.int32) & (LATTICE - 1)
    return f * f * (3 - 2 * f), low, (low + 1) & (LATTICE - 1)


def smooth_noise(x: Array, y: Array, lattice: Array) -> Array:
    """Value noise in [0, 1]: a periodic (LATTICE, LATTICE) lattice interpolated with smooth steps."""
    flat = lattice.reshape(-1)
    (fx, left, right), (fy, top, bottom) = _cell(x), _cell(y)
    top, bottom = top * LATTICE, bottom * LATTICE
    upper, lower = flat.take(top + left), flat.take(bottom + left)
    upper += (flat.take(top + right) - upper) * fx
    lower += (flat.take(bottom + right) - lower) * fx
    mixed: Array = upper + (lower - upper) * fy
    return mixed


def grid_noise(x: Array, y: Array, lattice: Array) -> Array:
    """`smooth_noise` at every pair of `x` (W,) and `y` (H,), as (H, W)."""
    (fx, left, right), (fy, top, bottom) = _cell(x), _cell(y)
    rows = lattice[:, left] + (lattice[:, right] - lattice[:, left]) * fx
    mixed: Array = rows[top] + (rows[bottom] - rows[top]) * fy[:, None]
    return mixed


def blotched(x: Array, y: Array, period: float, lattice: Array) -> Array:
    """Irregular patches: value noise cut at its median."""
    return _edge(smooth_noise(x * 1.6, y * 1.6, lattice) - 0.5, period)


TEXTURES: dict[str, Callable[[Array, Array, float, Array], Array]] = {
    texture.__name__: texture for texture in (striped, checked, dotted, ringed, zigzag, blotched)
}
