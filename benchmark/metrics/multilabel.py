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
from benchmark.metrics.names import joined, with_variant

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
    # Interpolation takes maxima over noise: it biases the figure upwards, and influence misses part of its variance.
    # The figure without interpolation has neither fault to that degree and bounds what is said of the others.
    error = {
        name: max(intervals.standard_error(influence[name]), intervals.standard_error(influence["step"]))
        for name in values
    }
    plain, _ = intervals.on_logit_scale(float(values["step"].mean()), error["step"], positives)
    strata = _labels(positive)
    figures = []
    for name, per_draw in values.items():
        value = float(np.clip(per_draw.mean(), 0, 1))  # sums of floats can end a hair outside
        low, high = intervals.on_logit_scale(value, error[name], positives)
        figures.append(_estimate(variant, name, ids, strata, per_draw, influence[name], (min(low, plain), high)))
    return figures


def _estimate(
    variant: str,
    definition: str,
    ids: np.ndarray,
    strata: np.ndarray,
    per_draw: np.ndarray,
    influence: np.ndarray,
    interval: tuple[float, float],
) -> Estimate:
    value = float(np.clip(per_draw.mean(), 0, 1))
    return Estimate(
        name=joined(with_variant("mAP", definition), variant),
        value=100 * value,
        interval=lambda: (100 * interval[0], 100 * interval[1]),
        units=ids,
        strata=strata,
        contributions=100 * (value + influence)[:, None],
        per_draw=tuple(100 * float(one) for one in per_draw) if len(per_draw) > 1 else (),
    )


def _labels(positive: np.ndarray) -> np.ndarray:
    """(N,) a number per set of labels (a hash: sums of random 62-bit numbers, one per class, that wrap around)."""
    return positive.astype(np.int64) @ np.random.default_rng(0).integers(0, 2**62, positive.shape[1])


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
