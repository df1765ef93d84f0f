"""The `segmentation` scorer: ratios of pixel counts summed over images, as mmsegmentation computes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns, intervals
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import joined

VERSION = 1


def estimates(table: pa.Table) -> list[Estimate]:
    """`mIoU`, `mAcc` and `aAcc` of every variant.

    Counts are summed over images first and divided then. `mIoU` is the mean over the classes with a pixel in labels or
    predictions (a class that is predicted and never there counts 0), `mAcc` over those with a labelled pixel.

    Raises:
        ResultError: the table contradicts itself (an intersection larger than either side, a class predicted at more
            pixels than are labelled in all), or no pixel is labelled.
    """
    classes = columns.facts_of(table)["classes"]
    found: list[Estimate] = []
    for variant, rows in columns.by_variant(table):
        ids, _, tables = columns.by_draw(rows)
        counts = [_read(part, classes) for part in tables]
        if any(not np.array_equal(labelled, counts[0][2]) for _, _, labelled in counts):
            raise columns.malformed("the same pixels in every draw", f"others within variant {variant!r}")
        found += _figures(variant, ids, counts)
    return found


def _figures(variant: str, ids: np.ndarray, draws: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[Estimate]:
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"mIoU": [], "mAcc": [], "aAcc": []}
    for hit, predicted, labelled in draws:
        parts["mIoU"].append((hit, predicted + labelled - hit))
        parts["mAcc"].append((hit, labelled))
        parts["aAcc"].append((hit.sum(axis=1, keepdims=True), labelled.sum(axis=1, keepdims=True)))
    labelled = draws[0][2].astype(np.int64)
    # Equal where two tables judge the same labels: a sum of random 62-bit numbers, one per class, that wraps around.
    strata = labelled @ np.random.default_rng(0).integers(0, 2**62, labelled.shape[1])
    return [_ratio(joined(name, variant), ids, strata, pairs) for name, pairs in parts.items()]


def _ratio(name: str, ids: np.ndarray, strata: np.ndarray, draws: list[tuple[np.ndarray, np.ndarray]]) -> Estimate:
    contributions = np.concatenate([np.concatenate([100.0 * above, below], axis=1) for above, below in draws], axis=1)
    per_draw: list[float] = []
    for above, below in draws:
        sums, wholes = above.sum(axis=0), below.sum(axis=0)
        per_draw.append(float(np.mean(100.0 * sums[wholes > 0] / wholes[wholes > 0])))
    value = float(np.mean(per_draw))
    estimate = Estimate(
        name=name,
        value=value,
        interval=lambda: (value, value),
        units=ids,
        strata=strata,
        contributions=contributions,
        folds=len(draws),
        ratios=True,
        per_draw=tuple(per_draw) if len(per_draw) > 1 else (),
    )

    def interval() -> tuple[float, float]:
        low, high = intervals.of_ratios(contributions, value, estimate.combine)
        return max(0.0, low), min(100.0, high)

    return replace(estimate, interval=interval)


def _read(rows: pa.Table, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(intersection, predicted, labelled), (N, C) float64 each, checked against each other."""
    found = []
    for name in ("intersection", "predicted", "labelled"):
        values = columns.matrix(rows, name)
        if values.shape[1] != classes or not np.issubdtype(values.dtype, np.integer):
            raise columns.malformed(f"{classes} whole numbers per row in {name!r}", f"{values.shape[1]} {values.dtype}")
        if values.size and values.min() < 0:
            raise columns.malformed(f"counts in {name!r}", f"{values.min()}")
        found.append(values.astype(np.float64))
    hit, predicted, labelled = found
    if (hit > np.minimum(predicted, labelled)).any():
        raise columns.malformed("intersections within both sides", "one that is larger")
    if (predicted.sum(axis=1) != labelled.sum(axis=1)).any():
        raise columns.malformed("a prediction for every labelled pixel", "an image with other numbers of them")
    if not labelled.any():
        raise columns.malformed("labelled pixels", "none")
    return hit, predicted, labelled
