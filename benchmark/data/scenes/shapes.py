"""Outlines of objects as signed distances: negative inside, positive outside, in units of the object's radius.

Only correctly rounded operations (+ - * / sqrt, comparisons) touch the pixels, so the same scene has the same bits on
any machine. All shapes have about the same area, 1.9 units of radius squared: size tells nothing about the kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from benchmark.data.scenes.draws import Array

EXTENT = 1.3  # no shape reaches further than this many radii from its centre


def _norm(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y)


def _box(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    return _norm(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)


def _turned(x: Array, y: Array, degrees: float) -> tuple[Array, Array]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * x + s * y, c * y - s * x


def _half_plane(x: Array, y: Array, degrees: float, offset: float) -> Array:
    """Distance to the line with outward normal at `degrees`, `offset` from the origin."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * x + s * y - offset


def disc(x: Array, y: Array) -> Array:
    """A filled circle."""
    return _norm(x, y) - 0.78


def square(x: Array, y: Array) -> Array:
    """A square."""
    return _box(x, y, 0.69, 0.69)


def triangle(x: Array, y: Array) -> Array:
    """An equilateral triangle of circumradius 1.21 (inradius half of it)."""
    sides = [_half_plane(x, y, degrees, 0.605) for degrees in (90, 210, 330)]
    return np.maximum(np.maximum(sides[0], sides[1]), sides[2])


def star(x: Array, y: Array) -> Array:
    """A five-pointed star: mirrored into the tenth of it around its upper tip, where the outline is a single line."""
    tip, notch = 1.137, 0.5685
    c, s = math.cos(math.pi / 5), math.sin(math.pi / 5)
    x = np.abs(x)
    for normal in (c, -c):  # the other mirror lines; what lies beyond one is folded back
        beyond = 2 * np.maximum(normal * x - s * y, 0)
        x, y = x - normal * beyond, y + s * beyond
    x = np.abs(x)
    run, drop = notch * s, tip - notch * c  # from the tip to the notch beside it
    length = math.hypot(run, drop)
    return x * (drop / length) + (y - tip) * (run / length)


def cross(x: Array, y: Array) -> Array:
    """A plus sign."""
    return np.minimum(_box(x, y, 0.95, 0.3), _box(x, y, 0.3, 0.95))


def ring(x: Array, y: Array) -> Array:
    """An annulus."""
    return np.abs(_norm(x, y) - 0.75) - 0.2


def moon(x: Array, y: Array) -> Array:
    """A crescent: a disc with a bite of another."""
    return np.maximum(_norm(x, y) - 1.0, 0.7 - _norm(x - 0.55, y))


def heart(x: Array, y: Array) -> Array:
    """A square on its corner with a half disc on each upper side."""
    side = 0.516
    u, v = _turned(x, y, 45)
    bumps = np.minimum(_norm(u - side, v), _norm(u, v - side)) - side
    return np.minimum(_box(u, v, side, side), bumps)


def bar(x: Array, y: Array) -> Array:
    """A long rectangle."""
    return _box(x, y, 1.13, 0.42)


def clover(x: Array, y: Array) -> Array:
    """Four discs that overlap, a hole in their midst."""
    return _norm(np.abs(x) - 0.355, np.abs(y) - 0.355) - 0.4


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    shape.__name__: shape for shape in (disc, star, square, cross, triangle, ring, heart, moon, clover, bar)
}
