"""The `multilabel` scorer: mean over classes of average precision.

Classes without a positive sample in the reported split have no ranking to judge and are left out of the mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from benchmark.metrics import average_precision, columns, intervals
from benchmark.metrics.average_precision import AveragePrecision, Curve
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import with_variant

VERSION = 1
# Under an empty name: the figure that `mAP` stands for.
_DEFINITIONS: dict[str, Callable[[Curve], AveragePrecision]] = {
    "": average_precision.interpolated,
    "11pt": average_precision.eleven_points,
    "step": average_precision.step,
}


def estimates(table: pa.Table) -> list[Estimate]:
    """`mAP`, `mAP@11pt` and `mAP@step` of every variant (`mAP@k20`, `mAP@k20-11pt`, ...).

    Raises:
        ResultError: the table contradicts itself, holds a score that is not finite or an indicator other than 0 and 1,
            or no class has a positive sample.
    """
    classes = columns.facts_of(table)["classes"]
    found: list[Estimate] = []
    for variant, rows in columns.by_variant(table):
        ids, _, tables = columns.by_draw(rows)
        draws = [_read(part, classes) for part in tables]
        if any(not np.array_equal(targets, draws[0][0]) for targets, _ in draws):
            raise columns.malformed("the same targets in every draw", f"others within variant {variant!r}")
        found += _figures(variant, ids, draws)
    return found


def _figures(variant: str, ids: np.ndarray, draws: list[tuple[np.ndarray, np.ndarray]]) -> list[Estimate]:
    positive = draws[0][0]
    judged = np.flatnonzero(positive.any(axis=0))
    if not len(judged):
        raise columns.malformed("at least one positive sample", "none in any class")
    values = {name: np.zeros(len(draws)) for name in _DEFINITIONS}
    influence = {name: np.zeros(len(ids)) for name in _DEFINITIONS}
    for number, (_, scores) in enumerate(draws):
        for label in judged:
            curve = average_precision.curve_of(positive[:, label], scores[:, label])
            for name, definition in _DEFINITIONS.items():
                found = definition(curve)
                values[name][number] += found.value / len(judged)
                influence[name] += found.influence / (len(judged) * len(draws))
    positives = int(positive.any(axis=1).sum())
    return [_estimate(variant, name, ids, values[name], influence[name], positives) for name in _DEFINITIONS]


def _estimate(
    variant: str, definition: str, ids: np.ndarray, per_draw: np.ndarray, influence: np.ndarray, positives: int
) -> Estimate:
    value = float(np.clip(per_draw.mean(), 0, 1))  # sums of floats can end a hair outside
    low, high = intervals.of_influence(value, influence, positives)
    return Estimate(
        name=with_variant("mAP", "-".join(part for part in (variant, definition) if part)),
        value=100 * value,
        interval=(100 * low, 100 * high),
        units=ids,
        strata=np.zeros(len(ids), dtype=np.int64),
        contributions=100 * (value + influence)[:, None],
        per_draw=tuple(100 * float(one) for one in per_draw) if len(per_draw) > 1 else (),
    )


def _read(rows: pa.Table, classes: int) -> tuple[np.ndarray, np.ndarray]:
    target = columns.matrix(rows, "target")
    scores = columns.matrix(rows, "scores").astype(np.float64)
    for name, values in (("target", target), ("scores", scores)):
        if values.shape[1] != classes:
            raise columns.malformed(f"{classes} numbers per row in {name!r}", f"{values.shape[1]}")
    if not np.isin(target, (0, 1)).all():
        raise columns.malformed("0 and 1 in 'target'", f"values up to {target.max()}")
    if not np.isfinite(scores).all():
        raise columns.malformed("finite numbers in 'scores'", f"{int((~np.isfinite(scores)).sum())} that are not")
    return target.astype(bool), scores
