"""Surface patterns: each maps positions (in periods) to a mix in [0, 1] of two colours.

Every pattern covers about half of the surface, so that neither an average nor a histogram of colours tells them apart.
Like `shapes`, only correctly rounded operations are used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmark.data.scenes.draws import Array

LATTICE = 16  # side of the periodic random lattice behind `blotched`


def _wave(v: Array) -> Array:
    """A triangle wave of period 1 between -1 and 1."""
    return np.abs(v - np.floor(v) - 0.5) * 4 - 1


def _edge(signed: Array, sharpness: float) -> Array:
    """A soft threshold at 0."""
    return np.clip(signed * sharpness + 0.5, 0, 1)


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


def smooth_noise(x: Array, y: Array, lattice: Array) -> Array:
    """Value noise in [0, 1]: a periodic (LATTICE, LATTICE) lattice interpolated with smooth steps."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i, j = x0.astype(np.int32) % LATTICE, y0.astype(np.int32) % LATTICE
    i1, j1 = (i + 1) % LATTICE, (j + 1) % LATTICE
    top = lattice[j, i] * (1 - fx) + lattice[j, i1] * fx
    bottom = lattice[j1, i] * (1 - fx) + lattice[j1, i1] * fx
    mixed: Array = top * (1 - fy) + bottom * fy
    return mixed


def blotched(x: Array, y: Array, period: float, lattice: Array) -> Array:
    """Irregular patches: value noise cut at its median."""
    return _edge(smooth_noise(x * 1.6, y * 1.6, lattice) - 0.5, period)


TEXTURES: dict[str, Callable[[Array, Array, float, Array], Array]] = {
    texture.__name__: texture for texture in (striped, checked, dotted, ringed, zigzag, blotched)
}
