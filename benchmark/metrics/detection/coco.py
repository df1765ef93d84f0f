"""The `detection` scorer: average precision and recall of boxes and masks by COCO's protocol.

Equal to `pycocotools.cocoeval.COCOeval` with its default parameters on images in the order of their ids. Beyond it,
objects marked difficult (which COCO does not have) count neither way, as those outside an area range do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.metrics.detection.figures import Figure, OfClass, Precisions, Tally, by_class, estimates_of
from benchmark.metrics.detection.images import Images
from benchmark.metrics.detection.matching import match_greedily, place_within
from benchmark.metrics.detection.overlap import Pairs, box_pairs, mask_pairs
from benchmark.metrics.estimate import Estimate

VERSION = 1
# `Params.setDetParams` of cocoeval.py.
_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_MAX_PER_CLASS = 100
_AREAS = {"": (0.0, 1e5**2), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e5**2)}
_DEPTHS = {"AR1": 1, "AR10": 10, "AR100": 100}
_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", *_DEPTHS, "ARs", "ARm", "ARl")
"""In the order of `COCOeval.summarize`."""


def estimates(table: pa.Table) -> list[Estimate]:
    """`AP`, `AP50`, `AP75`, `APs`, `APm`, `APl`, `AR1`, `AR10`, `AR100`, `ARs`, `ARm`, `ARl`; likewise `mask_AP` ...

    A figure about objects of which there are none (no small ones, say) is left out.

    Intervals come from each image's influence on the figure and from what interpolation adds to it (`figures`), not
    from a bootstrap: that has to rank all detections again a thousand times, and repeats the excess of interpolation
    instead of removing it. Simulated worlds of 60 to 200 images lie within them 93 to 98 times in 100 (`AP`, `AP50`,
    `AP75`, `APs`, `APm`, AR); a figure about a handful of objects less often.

    Raises:
        ResultError: the table contradicts itself, or nothing is to be found.
    """
    return estimates_of(table, _figures)


def _figures(images: Images, classes: int) -> dict[str, Figure]:
    boxes = images.found.box
    sides = boxes[:, 2:] - boxes[:, :2]
    found = _judge(images, classes, box_pairs, sides[:, 0] * sides[:, 1])
    if images.found.masks is not None:
        masks = _judge(images, classes, mask_pairs, images.found.mask_area.astype(np.float64))
        found |= {f"mask_{name}": figure for name, figure in masks.items()}
    return found


def _judge(
    images: Images,
    classes: int,
    pairs_of: Callable[[Images, int, float], Pairs],
    sizes: NDArray[np.float64],
) -> dict[str, Figure]:
    """The figures of boxes or of masks; `sizes` (D,) are the areas of those found."""
    low, high = np.array(list(_AREAS.values())).T
    area = images.area[:, None]
    ignored = (images.crowd | images.difficult)[:, None] | (area < low) | (area > high)
    cell = images.found.image * classes + images.found.label
    place = place_within(cell)
    pairs = pairs_of(images, classes, _THRESHOLDS[0])
    kept = place[pairs.found] < _MAX_PER_CLASS
    pairs = Pairs(pairs.found[kept], pairs.target[kept], pairs.overlap[kept])
    matched, lost = match_greedily(pairs, cell, ignored, images.crowd, _THRESHOLDS)
    outside = (sizes[:, None] < low) | (sizes[:, None] > high)
    lost |= (~matched & outside[:, :, None]) | (place >= _MAX_PER_CLASS)[:, None, None]
    order = np.argsort(-images.score, kind="stable")
    found: dict[str, Figure] = {}
    for way, suffix in enumerate(_AREAS):
        shown = ~lost[:, way]
        parts = list(by_class(images, ignored[:, way], matched[:, way] & shown, shown, order, classes))
        if parts:
            found |= _precisions(images, parts, suffix) | _recalls(images, parts, place, suffix)
    return {name: found[name] for name in _NAMES if name in found}


def _precisions(images: Images, parts: Sequence[OfClass], suffix: str) -> dict[str, Figure]:
    levels = {f"AP{suffix}": slice(None)} | ({} if suffix else {"AP50": slice(0, 1), "AP75": slice(5, 6)})
    precision = np.zeros((len(_THRESHOLDS), len(_RECALLS), len(parts)))
    gathered = Precisions(images, levels, lambda ranking: ranking.best_at(ranking.first_at(_RECALLS)).mean(axis=1))
    for column, part in enumerate(parts):
        first = part.ranking.first_at(_RECALLS)
        precision[:, :, column] = part.ranking.best_at(first)
        gathered.add(part, part.ranking.weight_of(first))
    # One sum over everything, as COCOeval has it: equal to the last bit.
    return {
        name: replace(figure, value=float(precision[levels[name]].ravel().mean()))
        for name, figure in gathered.figures().items()
    }


def _recalls(images: Images, parts: Sequence[OfClass], place: NDArray[np.int64], suffix: str) -> dict[str, Figure]:
    found = {}
    for name, depth in ({f"AR{suffix}": _MAX_PER_CLASS} if suffix else _DEPTHS).items():
        recall = np.zeros((len(_THRESHOLDS), len(parts)))
        tally = Tally(images)
        for column, part in enumerate(parts):
            hit = part.ranking.true & (place[part.rows] < depth)
            recall[:, column] = hit.sum(axis=1) / len(part.objects)
            value = float(recall[:, column].mean())
            tally.add(part, value, hit.mean(axis=0) / len(part.objects), value)
        found[name] = replace(tally.figure(), value=float(recall.ravel().mean()))
    return found
