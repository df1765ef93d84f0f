"""The `detection-voc` scorer: average precision of boxes by PASCAL VOC's protocol, under both of its definitions.

`AP50@11pt` and `AP50@area` are those of the development kits of 2007 and of 2010 and later (`VOCevaldet.m`): an overlap
of .5 or more. `AP`, `AP50` and `AP75` are what detectron2's `pascal_voc_evaluation.py` gives on VOC 2007, which papers
quote: eleven points, overlaps that are exceeded and not just reached, and a mean over overlaps of .50, .55, ... .95.
`AP@area` and `AP75@area` are what it gives on VOC 2012. The two differ where an overlap is .5 to the last bit and where
a recall is .3, .6 or .7 (detectron2's points are sums in floating point). detectron2 also rounds boxes to a tenth of a
pixel and scores to three digits before it judges; nothing is rounded here.

The kit counts pixels from 1 and ends with the last one, so a side is xmax - xmin + 1; on boxes with x0 = xmin - 1 and
x1 = xmax that is x1 - x0, and overlaps are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.metrics import columns
from benchmark.metrics.detection.curves import Ranking
from benchmark.metrics.detection.figures import Figure, Precisions, by_class, estimates_of
from benchmark.metrics.detection.images import Images
from benchmark.metrics.detection.matching import match_best
from benchmark.metrics.detection.overlap import box_pairs
from benchmark.metrics.estimate import Estimate

VERSION = 1
_KIT = 0.5
_ABOVE = np.arange(50, 100, 5) / 100.0
_THRESHOLDS = np.concatenate([[_KIT], np.nextafter(_ABOVE, 1)])
_ELEVEN = {"AP": slice(1, 11), "AP50": slice(1, 2), "AP75": slice(6, 7), "AP50@11pt": slice(0, 1)}
_AREA = {"AP@area": slice(1, 11), "AP50@area": slice(0, 1), "AP75@area": slice(6, 7)}
"""Which of the thresholds a figure is the mean over."""
_KIT_RECALLS = np.arange(11) / 10 - 1e-12
"""k / 10 in floating point may fall below the same recall computed as a ratio, or above."""
_ABOVE_RECALLS = np.arange(0.0, 1.1, 0.1)


def estimates(table: pa.Table) -> list[Estimate]:
    """`AP`, `AP50`, `AP75`, `AP50@11pt` (eleven points, as for VOC 2007), `AP@area`, `AP50@area`, `AP75@area`.

    Means over the classes that have an object which is not difficult.

    Raises:
        ResultError: the table contradicts itself, has crowds (VOC knows none), or nothing is to be found.
    """
    return estimates_of(table, _figures)


def _figures(images: Images, classes: int) -> Mapping[str, Figure]:
    if images.crowd.any():
        raise columns.malformed("no crowds, which VOC does not know", f"{int(images.crowd.sum())}")
    order = np.argsort(-images.score, kind="stable")
    matched, lost = match_best(box_pairs(images, classes, _KIT), order, images.difficult, _THRESHOLDS)
    eleven = Precisions(images, _ELEVEN, lambda ranking: ranking.best_at(_eleven(ranking)).mean(axis=1))
    area = Precisions(images, _AREA, Ranking.area)
    parts = list(by_class(images, images.difficult, matched, ~lost, order, classes))
    for part in parts:
        eleven.add(part, part.ranking.weight_of(_eleven(part.ranking)))
        area.add(part, part.ranking.true / part.ranking.positives)
    return eleven.figures() | area.figures() if parts else {}


def _eleven(ranking: Ranking) -> NDArray[np.int64]:
    """(T, 11) where eleven recalls are first reached, for the kit's threshold and for the others."""
    return np.concatenate([ranking.first_at(_KIT_RECALLS)[:1], ranking.first_at(_ABOVE_RECALLS)[1:]])
