"""The `detection-voc` scorer: average precision of boxes by PASCAL VOC's protocol, under both of its definitions.

`AP50` is that of the development kit (`VOCevaldet.m`): an overlap of .5 or more. `AP` and `AP75` do not exist there;
they are what detectron2's `pascal_voc_evaluation.py` made of it, which papers quote: the mean over overlaps of .50,
.55, ... .95, and .75, exceeded and not just reached. Its `AP50` differs from the kit's where an overlap is .5 to the
last bit or, of eleven points, where a recall is .3, .6 or .7 (its points are sums in floating point). detectron2 also
rounds boxes to a tenth of a pixel and scores to three digits before it judges; nothing is rounded here.

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
from benchmark.metrics.detection.matching import match_best
from benchmark.metrics.detection.overlap import box_pairs
from benchmark.metrics.detection.table import Images
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import with_variant

VERSION = 1
_KIT = 0.5
_ABOVE = np.arange(50, 100, 5) / 100.0
_THRESHOLDS = np.concatenate([[_KIT], np.nextafter(_ABOVE, 1)])
_LEVELS = {"AP": slice(1, 11), "AP50": slice(0, 1), "AP75": slice(6, 7)}
"""Which of the thresholds a figure is the mean over."""
_KIT_RECALLS = np.arange(11) / 10 - 1e-12
"""k / 10 in floating point may fall below the same recall computed as a ratio, or above."""
_ABOVE_RECALLS = np.arange(0.0, 1.1, 0.1)


def estimates(table: pa.Table) -> list[Estimate]:
    """`AP@11pt`, `AP50@11pt`, `AP75@11pt` (as for VOC 2007) and `AP@area`, `AP50@area`, `AP75@area` (from 2010 on).

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
    ways = {
        "11pt": Precisions(images, _LEVELS, lambda ranking: ranking.best_at(_eleven(ranking)).mean(axis=1)),
        "area": Precisions(images, _LEVELS, Ranking.area),
    }
    parts = list(by_class(images, images.difficult, matched, ~lost, order, classes))
    for part in parts:
        ways["11pt"].add(part, part.ranking.weight_of(_eleven(part.ranking)))
        ways["area"].add(part, part.ranking.true / part.ranking.positives)
    if not parts:
        return {}
    return {
        with_variant(name, way): figure for way, gathered in ways.items() for name, figure in gathered.figures().items()
    }


def _eleven(ranking: Ranking) -> NDArray[np.int64]:
    """(T, 11) where eleven recalls are first reached, for the kit's threshold and for the others."""
    return np.concatenate([ranking.first_at(_KIT_RECALLS)[:1], ranking.first_at(_ABOVE_RECALLS)[1:]])
