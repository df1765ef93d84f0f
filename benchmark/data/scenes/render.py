"""Pixels and annotations of one scene."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.scenes.draws import Array, Draws, between, clamp
from benchmark.data.scenes.kinds import Kind
from benchmark.data.scenes.layout import CANDIDATES, Layout, Placed, arrange
from benchmark.data.scenes.options import SceneOptions
from benchmark.data.scenes.textures import LATTICE, TEXTURES, grid_noise

RENDERER_VERSION = 1  # raised whenever any option set gives other pixels


@dataclass(frozen=True)
class Scene:
    """An image and everything that is known about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: kind of the subject, the object with the largest visible area.
        boxes: (K, 4) int64 x0, y0, x1, y1 of what is visible; x1 and y1 are one past the last pixel. Subject first.
        kinds: (K,) int64 kind of each object.
        instance_masks: (K, H, W) bool, visible pixels; no pixel belongs to two objects.
        semantic: (H, W) uint8, 0 where there is background and kind + 1 where there is an object.
    """

    image: NDArray[np.uint8]
    label: int
    boxes: NDArray[np.int64]
    kinds: NDArray[np.int64]
    instance_masks: NDArray[np.bool_]
    semantic: NDArray[np.uint8]


def _colour(hue: float, saturation: float, lightness: float) -> list[float]:
    """RGB of a hue (in turns), `lightness` its grey part."""
    spread = [min(max(2 - 6 * abs((hue - k / 3 + 0.5) % 1 - 0.5), 0.0), 1.0) for k in range(3)]
    grey = sum(spread) / 3
    return [lightness + saturation * (part - grey) for part in spread]


def _two_colours(u: list[float], contrast: float) -> tuple[list[float], list[float]]:
    """A pair of unlike hues, `contrast` apart in lightness, the lighter one first or second by chance."""
    light = between(0.3, 0.7, u[0])
    step = contrast / 2 if u[1] < 0.5 else -contrast / 2
    saturation = between(0.15, 0.55, u[2])
    return (
        _colour(u[3], saturation, light + step),
        _colour((u[3] + between(0.1, 0.9, u[4])) % 1, saturation, light - step),
    )


def _mix(first: list[float], second: list[float], t: Array) -> Array:
    """(3, ...) colours: `second` where `t` is 0, `first` where it is 1."""
    mixed = np.empty((3, *t.shape), np.float32)
    for channel, a, b in zip(mixed, first, second, strict=True):
        np.multiply(t, a - b, out=channel)
        channel += b
    return mixed


def _ground(draws: Draws, size: int, hard: float) -> Array:
    """(3, size, size) background: drifting colours under a patterned veil."""
    u = draws.uniform(12).tolist()
    lattice = draws.uniform(2, LATTICE, LATTICE).astype(np.float32)
    at = (np.arange(size, dtype=np.float32) + 0.5) * (1 / size)
    x, y = at[None, :], at[:, None]
    drift = grid_noise(at * 3 + u[0], at * 3 + u[1], lattice[0]) * 0.7 + grid_noise(at * 12, at * 12, lattice[0]) * 0.3
    ground = _mix(*_two_colours(u[2:7], between(0.1, 0.35, hard)), drift)
    turn, period = math.tau * u[7], between(0.09, 0.22, u[8])
    c, s = math.cos(turn) / period, math.sin(turn) / period
    pattern = list(TEXTURES.values())[int(u[9] * len(TEXTURES))]
    veil = pattern(x * c + y * s + 7 * u[10], y * c - x * s + 7 * u[11], period * size, lattice[1])
    ground += (veil - 0.5) * between(0.04, 0.3, hard)
    return ground


def _paint(canvas: Array, thing: Placed, texture: str, u: list[float], lattice: Array, hard: float) -> None:
    """Draws one object and the shadow under it onto the (3, H, W) canvas.

    Args:
        canvas: changed in place.
        thing: the object.
        texture: the name of its texture.
        u: ten uniform numbers for its looks.
        lattice: (LATTICE, LATTICE) uniform numbers.
        hard: the difficulty.
    """
    rows, columns = thing.window
    window = canvas[:, rows, columns]
    shadow = clamp(0.5 - thing.distance * (2.0 / thing.radius)) * between(0.2, 0.45, u[0])
    lag = max(round(thing.radius * 0.12), 1)  # light comes from above left
    window[:, lag:, lag:] *= 1 - shadow[:-lag, :-lag]

    period = max(thing.radius * between(0.36, 0.5, u[1]), 4.5)  # finer patterns would alias
    turn, reach = math.tau * u[2], 0.2 if texture == "ringed" else 7.0  # the centre of rings stays on the object
    c, s = math.cos(turn) / period, math.sin(turn) / period
    x, y = thing.x * c + thing.y * s + reach * (u[8] - 0.5), thing.y * c - thing.x * s + reach * (u[9] - 0.5)
    surface = _mix(*_two_colours(u[3:8], between(0.55, 0.22, hard)), TEXTURES[texture](x, y, period, lattice))
    bevel = clamp(1 + thing.distance * (3.0 / thing.radius))  # darker towards the outline
    surface *= 1.04 - 0.3 * (bevel * bevel)
    surface -= window
    surface *= thing.coverage
    window += surface


def _light(canvas: Array, draws: Draws, hard: float) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the canvas under a lamp from some side, of some colour and strength, and sensor noise."""
    size = canvas.shape[1]
    u = draws.uniform(6).tolist()
    gain = between(1 - 0.35 * hard, 1 + 0.25 * hard, u[0])
    turn, slope = math.tau * u[1], 0.9 * hard * u[2]
    at = (np.arange(size, dtype=np.float32) + 0.5) * (1 / size) - 0.5
    lamp = 1 + (at[None, :] * (slope * math.cos(turn)) + at[:, None] * (slope * math.sin(turn)))
    noise = draws.bytes(3, size, size).astype(np.float32) - 127.5
    for channel in range(3):
        canvas[channel] *= lamp * (gain * (1 + 0.3 * hard * (u[3 + channel] - 0.5)))
    noise *= between(0.01, 0.2, hard)
    canvas *= 255
    canvas += noise
    canvas += 0.5  # the conversion cuts, so this rounds
    lit = np.minimum(np.maximum(canvas, 0), 255).astype(np.uint8)
    return np.ascontiguousarray(lit.transpose(1, 2, 0))


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def render(kinds: tuple[Kind, ...], label: int, entropy: tuple[int, ...], options: SceneOptions) -> Scene:
    """Draws the scene whose subject is of kind `label`.

    Args:
        kinds: the kinds of the world.
        label: index into them.
        entropy: what the scene's random numbers depend on, beside the label.
        options: size and difficulty.
    """
    draws, hard = Draws((*entropy, label)), options.difficulty
    layout: Layout = arrange(draws, kinds, label, options)
    canvas = _ground(draws, options.size, hard)
    looks = draws.uniform(CANDIDATES + 1, 10).tolist()
    lattices = draws.uniform(CANDIDATES + 1, LATTICE, LATTICE).astype(np.float32)
    for index in layout.depth:
        thing = layout.objects[index]
        _paint(canvas, thing, kinds[thing.kind].texture, looks[index], lattices[index], hard)
    image = _light(canvas, draws, hard)
    seen = np.array([thing.kind for thing in layout.objects], np.int64)
    semantic = np.zeros((options.size, options.size), np.uint8)
    for mask, kind in zip(layout.masks, seen.tolist(), strict=True):
        semantic[mask] = kind + 1
    boxes = np.array([_bounds(mask) for mask in layout.masks], np.int64)
    return Scene(image, label, boxes, seen, layout.masks, semantic)
