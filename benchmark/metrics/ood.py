"""The `ood` scorer: are images of something else told apart from those of the dataset, by each of several scores?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns, separation
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import with_variant

VERSION = 1
SETS = ("inside", "outside")
SCORES = ("knn", "energy", "msp")


def ood_table(which: str, ids: pa.Array, scores: Mapping[str, np.ndarray], classes: int) -> pa.Table:
    """Rows of one set of images; join both with `columns.join`.

    Args:
        which: of `SETS`: reported images of the dataset, or images of something else.
        ids: (N,) Arrow strings.
        scores: (N,) of each of `SCORES`, higher for images that look like the dataset's; any increasing function of a
            score will do, for only the order counts.
        classes: C of the dataset.
    """
    n = len(ids)
    table = {
        "variant": pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([which], pa.string())),
        "draw": pa.array(np.zeros(n, np.int32)),
        "sample": pa.concat_arrays(ids.chunks).cast(pa.string()) if isinstance(ids, pa.ChunkedArray) else ids,
        **{name: pa.array(scores[name].astype(np.float64)) for name in SCORES},
    }
    return columns.stamp(pa.table(table), "ood", classes)


def estimates(table: pa.Table) -> list[Estimate]:
    """`auroc`, `fpr95`, `fpr95_out`, `aupr_in` and `aupr_out` under each of `SCORES` (`auroc@knn`).

    What ends in `_out` is asked of the images outside: they are what is to be found, by low scores.

    Raises:
        ResultError: a set is missing or has one image, or a score is not finite.
    """
    columns.facts_of(table)
    parts = dict(columns.by_variant(table))
    if sorted(parts) != list(SETS):
        raise columns.malformed("rows of images inside and outside", f"variants {sorted(parts)}")
    ids: list[np.ndarray] = []
    scores: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    for which in SETS:
        keys, _, tables = columns.by_draw(parts[which])
        if len(tables) != 1 or len(keys) < 2:
            raise columns.malformed("one draw of two images or more", f"{len(tables)} of {len(keys)} {which}")
        ids.append(np.array([f"{which}/{key}" for key in keys], object))  # one id may be in both sets
        for name in SCORES:
            values = columns.optional_floats(tables[0], name)
            if values is None:
                raise columns.malformed(f"numbers in {name!r}", "none")
            scores[name].append(values)
    units, strata = np.concatenate(ids), np.repeat([1, 0], [len(part) for part in ids])
    found = []
    for name, (inside, outside) in scores.items():
        figures = {
            "auroc": separation.roc_area(inside, outside),
            "fpr95": separation.false_positives(inside, outside),
            "fpr95_out": separation.swapped(separation.false_positives(-outside, -inside), len(outside)),
            "aupr_in": separation.precision_area(inside, outside),
            "aupr_out": separation.swapped(separation.precision_area(-outside, -inside), len(outside)),
        }
        found += [figure.estimate(with_variant(base, name), units, strata) for base, figure in figures.items()]
    return found
