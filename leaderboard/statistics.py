"""Whether a difference between two runs is real: tests on tables of predictions, paired by sample wherever that exists.

What several seeds of a run say of a sample is averaged first. Where both sides ran the same seeds, their random draws
are the same, and only the choice of test samples is left to chance. Where they ran others, what the draws alone can do
is part of the uncertainty, as far as several draws or seeds show it.
"""

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
DRAWN_UNITS = frozenset({"episodes"})
"""Scorers whose units the seed draws: another seed brings other units, and more seeds bring more of them."""


@dataclass(frozen=True)
class Difference:
    """Candidate minus baseline.

    Attributes:
        metric: the metric's name.
        delta: in the metric's unit (percent or nats).
        ci_low, ci_high: 95% paired bootstrap interval of `delta` over samples (episodes where these are the units).
        p_value: two-sided, against no difference.
        n: the number of samples or episodes both were judged on (the smaller one where they are not the same).
        test: `mcnemar` (exact) where every sample is right or wrong, `bootstrap` elsewhere (p at least 1/2001),
            `unpaired` (bootstrap) where the two met other episodes.
        draw_error: standard error that random draws add to `delta`; 0 where both sides share their draws, None where
            they do not and a single draw on each side does not tell.
    """

    metric: str
    delta: float
    ci_low: float
    ci_high: float
    p_value: float
    n: int
    test: Literal["mcnemar", "bootstrap", "unpaired"]
    draw_error: float | None = 0.0


def paired_difference(
    baseline: pa.Table,
    candidate: pa.Table,
    metric: str,
    version: int | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Difference:
    """Compares two tables of predictions on one metric, sample by sample; see `pooled_difference`."""
    return pooled_difference([baseline], [candidate], metric, version, replicates, seed)


def pooled_difference(
    baseline: Sequence[pa.Table],
    candidate: Sequence[pa.Table],
    metric: str,
    version: int | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
    *,
    same_seeds: bool = True,
) -> Difference:
    """Compares tables of predictions on one metric, sample by sample, what several seeds say of a sample pooled.

    Args:
        baseline: tables of one scorer for the same samples, one per seed.
        candidate: likewise.
        metric: a figure that all have (`top1@k20`).
        version: the scorer's version; None for the newest.
        replicates: bootstrap samples.
        seed: of the bootstrap.
        same_seeds: whether the two sides are the same seeds in the same order. If not, samples are paired all the
            same, and the error of the draws is added; episodes, which a seed draws, are compared unpaired.

    Raises:
        ResultError: the tables are malformed, hold different samples or targets, or lack the metric.
    """
    sides = [[estimate_of(table, metric, version) for table in side] for side in (baseline, candidate)]
    drawn = all(facts_of(table)["scorer"] in DRAWN_UNITS for side in (baseline, candidate) for table in side)
    first, second = (_side_by_side(side) if drawn else pooled_estimate(side) for side in sides)
    paired = np.array_equal(first.units, second.units) and np.array_equal(first.strata, second.strata)
    if not paired and (same_seeds or not drawn):
        raise ResultError(
            "the same samples with the same targets on both sides",
            f"{len(first.units)} and {len(second.units)} samples that differ",
            "compare results of one dataset, split and protocol",
        )
    delta = second.value - first.value
    noise = _noise(first, second, replicates, seed, paired)
    error, freedom = (0.0, 0) if same_seeds or drawn else _draw_error(*sides)
    if error:
        noise = noise + error * np.random.default_rng([seed, 1]).standard_t(freedom, replicates)
    low, high = (float(limit) for limit in delta + np.quantile(noise, (0.025, 0.975)))
    n = min(len(first.units), len(second.units))
    if paired and first.binary and second.binary:
        change = second.contributions[:, 0] - first.contributions[:, 0]
        p_value = mcnemar(int((change < 0).sum()), int((change > 0).sum()))
        return Difference(metric, delta, low, high, p_value, n, "mcnemar", error)
    p_value = (1 + int((np.abs(noise) >= abs(delta) - 1e-12).sum())) / (1 + replicates)
    return Difference(metric, delta, low, high, p_value, n, "bootstrap" if paired else "unpaired", error)


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


def _side_by_side(seeds: Sequence[Estimate]) -> Estimate:
    """Units that the seeds drew, one after another."""
    units, strata, contributions = (
        np.concatenate([getattr(one, name) for one in seeds]) for name in ("units", "strata", "contributions")
    )
    value = float(contributions.mean())
    return replace(seeds[0], value=value, units=units, strata=strata, contributions=contributions)


def _noise(first: Estimate, second: Estimate, replicates: int, seed: int, paired: bool) -> np.ndarray:
    """(R,) what the choice of units alone does to the difference; rows of both resampled together where they pair.

    Replicates are centred on the observed difference: where the metric is biased (a calibration error), both sides
    share the bias that resampling adds, and none of it belongs to the difference.
    """
    if not paired:
        sides = (
            resampled_means(one.contributions, replicates, seed + place) for place, one in enumerate((first, second))
        )
        before, after = (one.combine(means) for one, means in zip((first, second), sides, strict=True))
        change = after - before
    elif first.folds is None and second.folds is None:
        change = resampled_means(second.contributions - first.contributions, replicates, seed)[:, 0]
    else:
        both = resampled_means(np.concatenate([first.contributions, second.contributions], axis=1), replicates, seed)
        width = first.contributions.shape[1]
        change = second.combine(both[:, width:]) - first.combine(both[:, :width])
    return change - change.mean()


def _draw_error(baseline: Sequence[Estimate], candidate: Sequence[Estimate]) -> tuple[float | None, int]:
    """(standard error of the difference from draws that the sides do not share, its degrees of freedom).

    The two-sample formula with a pooled variance over the figures under each draw (each seed, where a seed has one
    draw); None where neither side has two.
    """
    sides = [[value for one in side for value in one.per_draw or (one.value,)] for side in (baseline, candidate)]
    freedom = sum(len(values) - 1 for values in sides)
    if not freedom:
        return None, 0
    squares = sum(float(np.var(values)) * len(values) for values in sides)
    return float(np.sqrt(squares / freedom * sum(1 / len(values) for values in sides))), freedom
