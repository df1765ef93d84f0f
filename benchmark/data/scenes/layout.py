"""What is where in a scene: poses of the subject and of the objects around it, and who hides whom.

Objects are placed one after the other, each at the very front or at the very back, and only where the scene keeps its
promises: the subject has the largest visible area by `MARGIN`, is hidden by no more than the difficulty allows, and
every object stays visible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.scenes.draws import Array, Draws, between, clamp
from benchmark.data.scenes.kinds import Kind
from benchmark.data.scenes.options import SceneOptions
from benchmark.data.scenes.shapes import EXTENT, SHAPES

MARGIN = 1.3  # the subject's visible area over that of any other object, at least
MIN_AREA = 0.006  # visible area of every object as a fraction of the image, at least
CANDIDATES = 10  # places tried for the objects around the subject


@dataclass(frozen=True)
class Placed:
    """An object in its place.

    Attributes:
        kind: index of its kind.
        window: the part of the image that its arrays cover.
        x, y: (h, w) positions relative to its centre and turned with it, in pixels.
        distance: (h, w) signed distance to its outline, in pixels.
        radius: in pixels.
    """

    kind: int
    window: tuple[slice, slice]
    x: Array
    y: Array
    distance: Array
    radius: float

    @property
    def coverage(self) -> Array:
        """(h, w) share of each pixel that the object covers, smooth across the outline."""
        return clamp(0.5 - self.distance)

    def mask(self, size: int) -> NDArray[np.bool_]:
        """(size, size) pixels of which the object covers at least half."""
        mask = np.zeros((size, size), bool)
        mask[self.window] = self.distance <= 0
        return mask


def _place(kind: int, shape: str, size: int, cx: float, cy: float, radius: float, turn: float) -> Placed:
    reach = EXTENT * radius + 2
    x0, x1 = max(math.floor(cx - reach), 0), min(math.ceil(cx + reach), size)
    y0, y1 = max(math.floor(cy - reach), 0), min(math.ceil(cy + reach), size)
    px = np.arange(x0, x1, dtype=np.float32)[None, :] + (0.5 - cx)
    py = (0.5 + cy - 1) - np.arange(y0, y1, dtype=np.float32)[:, None]  # upward
    c, s = math.cos(turn), math.sin(turn)
    x, y = px * c + py * s, py * c - px * s
    distance = SHAPES[shape](x * (1 / radius), y * (1 / radius)) * radius
    return Placed(kind, (slice(y0, y1), slice(x0, x1)), x, y, distance, radius)


@dataclass(frozen=True)
class Layout:
    """The objects of a scene.

    Attributes:
        objects: the subject first, then the others as they were placed.
        depth: indices into `objects` from the back to the front.
        masks: (K, size, size) bool, what is visible of each; no two overlap.
    """

    objects: tuple[Placed, ...]
    depth: tuple[int, ...]
    masks: NDArray[np.bool_]


def arrange(draws: Draws, kinds: tuple[Kind, ...], subject: int, options: SceneOptions) -> Layout:
    """Places the subject (index of its kind) and, of the other kinds, as many objects as the difficulty wants."""
    size, hard = options.size, options.difficulty
    swing = math.radians(between(20, 180, hard))  # either way

    def turn(u: float) -> float:
        return between(-swing, swing, u)

    u = draws.uniform(5).tolist()
    radius = size * between(between(0.34, 0.22, hard), between(0.42, 0.36, hard), u[0])
    slack = max(size / 2 - radius * 0.8, 0.0)
    cx, cy = (size / 2 + slack * between(0.3, 1, hard) * (2 * v - 1) for v in u[1:3])
    first = _place(subject, kinds[subject].shape, size, cx, cy, radius, turn(u[3]))
    objects, depth, masks = [first], [0], [first.mask(size)]
    wanted = round(between(0, 6, hard) * between(0.5, 1.0, u[4]))
    must_show = np.count_nonzero(masks[0]) * (1 - between(0.02, 0.4, hard))
    smallest = MIN_AREA * size * size
    for row in draws.uniform(CANDIDATES, 7).tolist():
        if len(objects) > wanted:
            break
        kind = (subject + 1 + int(row[0] * (len(kinds) - 1))) % len(kinds)
        scale = radius * between(0.4, between(0.6, 1.0, hard), row[1])
        new = _place(kind, kinds[kind].shape, size, row[2] * size, row[3] * size, scale, turn(row[4]))
        in_front = row[5] < 0.5
        mask = new.mask(size)
        after = [*(m & ~mask for m in masks), mask] if in_front else [*masks, mask & ~np.logical_or.reduce(masks)]
        areas = [int(np.count_nonzero(m)) for m in after]
        if areas[0] >= max(must_show, MARGIN * max(areas[1:])) and min(areas) >= smallest:
            depth = [*depth, len(objects)] if in_front else [len(objects), *depth]
            objects.append(new)
            masks = after
    return Layout(tuple(objects), tuple(depth), np.stack(masks))
