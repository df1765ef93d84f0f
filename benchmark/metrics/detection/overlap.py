"""How far what was found lies on what is annotated: intersection over union of boxes and of masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from benchmark.metrics.detection.images import Boxes, Images

_BLOCK = 1 << 20  # pairs whose boxes are laid on each other at once


@dataclass(frozen=True)
class Pairs:
    """P pairs of a detection and an annotated object of the same image and class that lie on each other.

    Attributes:
        found: (P,) index of the detection, ascending.
        target: (P,) index of the object, ascending for one detection.
        overlap: (P,) intersection over union; over the detection alone where the object is a crowd.
    """

    found: NDArray[np.int64]
    target: NDArray[np.int64]
    overlap: NDArray[np.float64]

    def at_least(self, overlap: float) -> Pairs:
        """Those that overlap that much."""
        kept = self.overlap >= overlap
        return Pairs(self.found[kept], self.target[kept], self.overlap[kept])

    @classmethod
    def of(cls, parts: list[Pairs]) -> Pairs:
        """One after another, in order of detections and objects."""
        found, target = (
            np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])
            for name in ("found", "target")
        )
        overlap = np.concatenate([np.zeros(0), *(part.overlap for part in parts)])
        order = np.lexsort((target, found))
        return cls(found[order], target[order], overlap[order])


def box_pairs(images: Images, classes: int, least: float) -> Pairs:
    """Pairs whose boxes overlap by at least `least`, which is above 0."""
    parts = []
    for found, target in _same_cells(images, classes):
        overlap = box_overlap(images.found.box[found], images.targets.box[target], images.crowd[target])
        parts.append(Pairs(found, target, overlap).at_least(least))
    return Pairs.of(parts)


def box_overlap(found: np.ndarray, target: np.ndarray, crowd: np.ndarray) -> NDArray[np.float64]:
    """(P,) of boxes (P, 4) and (P, 4): operation by operation what `bbIou` of cocoapi's maskApi.c does with doubles.

    It is given x, y, width and height, so far edges are x + (x1 - x), which need not be x1 to the last bit.
    """
    corner, size = found[:, :2], found[:, 2:] - found[:, :2]
    other_corner, other_size = target[:, :2], target[:, 2:] - target[:, :2]
    sides = np.minimum(size + corner, other_size + other_corner) - np.maximum(corner, other_corner)
    both = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    area, other = size[:, 0] * size[:, 1], other_size[:, 0] * other_size[:, 1]
    union = np.where(crowd, area, area + other - both)
    return np.divide(both, union, out=np.zeros(len(found)), where=both > 0)


def mask_pairs(images: Images, classes: int, least: float) -> Pairs:
    """Pairs whose masks overlap by at least `least`, which is above 0: by cocoapi's own code, cell by cell."""
    codes = [_codes(boxes, images.size) for boxes in (images.found, images.targets)]
    parts = []
    for found, target in _shared_cells(images, classes):
        overlap = coco.iou(
            [codes[0][index] for index in found], [codes[1][index] for index in target], images.crowd[target].tolist()
        )
        grid = np.broadcast_arrays(found[:, None], target)
        parts.append(Pairs(grid[0].ravel(), grid[1].ravel(), np.asarray(overlap).ravel()).at_least(least))
    return Pairs.of(parts)


def _codes(boxes: Boxes, size: NDArray[np.int64]) -> list[dict[str, object]]:
    """Masks as pycocotools takes them."""
    texts = [] if boxes.masks is None else boxes.masks.to_pylist()
    sizes = size[boxes.image].tolist()
    return [{"size": one, "counts": text.encode()} for one, text in zip(sizes, texts, strict=True)]


def _cells(boxes: Boxes, classes: int) -> NDArray[np.int64]:
    """(D,) a number for the image and class of each."""
    return boxes.image * classes + boxes.label


def _same_cells(images: Images, classes: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of detections and of objects, paired where image and class are one, in blocks of about `_BLOCK`."""
    cells = _cells(images.targets, classes)
    order = np.argsort(cells, kind="stable")
    wanted = _cells(images.found, classes)
    first = np.searchsorted(cells[order], wanted, side="left")
    count = np.searchsorted(cells[order], wanted, side="right") - first
    upto = np.cumsum(count)
    begin = 0
    while begin < len(wanted):
        done = upto[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(upto, done + _BLOCK, side="right")))
        found = np.repeat(np.arange(begin, end), count[begin:end])
        place = np.arange(len(found)) - np.repeat(upto[begin:end] - count[begin:end] - done, count[begin:end])
        yield found, order[first[found] + place]
        begin = end


def _shared_cells(images: Images, classes: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of all detections and of all objects of every image and class that has both."""
    sides = [_cells(boxes, classes) for boxes in (images.found, images.targets)]
    orders = [np.argsort(cells, kind="stable") for cells in sides]
    both = np.intersect1d(sides[0], sides[1])
    edges = [
        (np.searchsorted(cells[order], both, side="left"), np.searchsorted(cells[order], both, side="right"))
        for cells, order in zip(sides, orders, strict=True)
    ]
    for place in range(len(both)):
        found, target = (order[low[place] : high[place]] for order, (low, high) in zip(orders, edges, strict=True))
        yield found, target
