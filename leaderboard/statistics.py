"""Whether a difference between two runs is real: paired tests on two tables of predictions for the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from benchmark.errors import ResultError, nearest
from benchmark.metrics.columns import facts_of
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.intervals import resampled_means
from benchmark.metrics.registry import get_scorer
from benchmark.metrics.significance import mcnemar

REPLICATES = 2000


@dataclass(frozen=True)
class Difference:
    """Candidate minus baseline.

    Attributes:
        metric: the metric's name.
        delta: in the metric's unit (percent or nats).
        ci_low, ci_high: 95% paired bootstrap interval of `delta` over samples (episodes where these are the units).
        p_value: two-sided, against no difference.
        n: the number of samples or episodes both were judged on.
        test: `mcnemar` (exact) where every sample is right or wrong, `bootstrap` elsewhere (p at least 1/2001).
    """

    metric: str
    delta: float
    ci_low: float
    ci_high: float
    p_value: float
    n: int
    test: Literal["mcnemar", "bootstrap"]


def paired_difference(
    baseline: pa.Table,
    candidate: pa.Table,
    metric: str,
    version: int | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Difference:
    """Compares two tables of predictions on one metric, sample by sample; see `pooled_difference`."""
    return pooled_difference([(baseline, candidate)], metric, version, replicates, seed)


def pooled_difference(
    pairs: Sequence[tuple[pa.Table, pa.Table]],
    metric: str,
    version: int | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Difference:
    """Compares tables of predictions on one metric, sample by sample, what several seeds say of a sample pooled.

    Args:
        pairs: (baseline, candidate) tables of one scorer for the same samples, one pair per seed.
        metric: a figure that all have (`top1@k20`).
        version: the scorer's version; None for the newest.
        replicates: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ResultError: the tables are malformed, hold different samples or targets, or lack the metric.
    """
    first, second = (pooled_estimate([estimate_of(pair[side], metric, version) for pair in pairs]) for side in (0, 1))
    if not np.array_equal(first.units, second.units) or not np.array_equal(first.strata, second.strata):
        raise ResultError(
            "the same samples with the same targets on both sides",
            f"{len(first.units)} and {len(second.units)} samples that differ",
            "compare results of one dataset, split and protocol",
        )
    delta = second.value - first.value
    low, high, p_value = _bootstrap(first, second, delta, replicates, seed)
    exact = first.binary and second.binary
    if exact:
        change = second.contributions[:, 0] - first.contributions[:, 0]
        p_value = mcnemar(int((change < 0).sum()), int((change > 0).sum()))
    return Difference(metric, delta, low, high, p_value, len(first.units), "mcnemar" if exact else "bootstrap")


def pooled_estimate(seeds: Sequence[Estimate]) -> Estimate:
    """The mean over seeds of what each sample contributes.

    Raises:
        ResultError: the seeds judge different samples.
    """
    first = seeds[0]
    if len(seeds) == 1:
        return first
    if any(not np.array_equal(one.units, first.units) for one in seeds):
        raise ResultError("seeds that judge the same samples", f"{first.name} of others", "compare results of one seed")
    if first.folds is not None:  # no mean over samples: seeds lie side by side, as draws do
        both = np.concatenate([one.contributions for one in seeds], axis=1)
        value = float(np.mean([one.value for one in seeds]))
        return replace(first, value=value, contributions=both, folds=first.folds * len(seeds), per_draw=())
    mean = np.mean([one.contributions for one in seeds], axis=0)
    value = float(np.mean([one.value for one in seeds]))
    return replace(first, value=value, contributions=mean, binary=False, per_draw=())


def estimate_of(table: pa.Table, metric: str, version: int | None) -> Estimate:
    """One metric of a table of predictions, with what each unit contributes.

    Raises:
        ResultError: the table is malformed or lacks the metric.
    """
    found = {one.name: one for one in get_scorer(facts_of(table)["scorer"], version).check(table)}
    if metric not in found:
        raise ResultError("a metric of these predictions", f"{metric!r}", nearest(metric, found))
    return found[metric]


def _bootstrap(
    first: Estimate, second: Estimate, delta: float, replicates: int, seed: int
) -> tuple[float, float, float]:
    """Percentile limits of the difference and a two-sided p-value, rows of both resampled together.

    Replicates are centred on the observed difference: where the metric is biased (a calibration error), both sides
    share the bias that resampling adds, and none of it belongs to the difference.
    """
    if first.folds is None and second.folds is None:
        change = resampled_means(second.contributions - first.contributions, replicates, seed)[:, 0]
    else:
        both = resampled_means(np.concatenate([first.contributions, second.contributions], axis=1), replicates, seed)
        width = first.contributions.shape[1]
        change = second.combine(both[:, width:]) - first.combine(both[:, :width])
    noise = change - change.mean()
    low, high = delta + np.quantile(noise, (0.025, 0.975))
    beyond = int((np.abs(noise) >= abs(delta) - 1e-12).sum())
    return float(low), float(high), (1 + beyond) / (1 + replicates)
