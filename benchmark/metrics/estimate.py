"""A metric's value beside what each unit (sample or episode) contributes to it: what tests between runs need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.metrics import intervals
from benchmark.metrics.metric import Metric
from benchmark.metrics.names import definition_of


@dataclass(frozen=True)
class Share:
    """A figure in [0, 1] over N units, before it has a name.

    Attributes:
        value: the figure.
        influence: (N,) what each unit changes in it, to first order; zero mean.
        interval: 95%.
    """

    value: float
    influence: np.ndarray
    interval: tuple[float, float]

    def estimate(self, name: str, units: np.ndarray, strata: np.ndarray) -> Estimate:
        """In percent, of units in this order."""
        low, high = self.interval
        return Estimate(
            name=name,
            value=100 * self.value,
            interval=lambda: (100 * low, 100 * high),
            units=units,
            strata=strata,
            contributions=100 * (self.value + self.influence)[:, None],
        )


@dataclass(frozen=True)
class Estimate:
    """A metric over N units, in its own unit (percent or nats).

    Attributes:
        name: with its variant (`ece@ts`).
        value: the figure.
        interval: gives its 95% interval, when asked (some cost a bootstrap).
        units: (N,) ids in ascending order; two tables can be compared unit by unit where these agree.
        strata: (N,) the target of each unit where the metric has one per unit, else zeros.
        contributions: (N, M). With `folds` None, M = 1 and the value is the mean of the column (exactly, or to first
            order where the metric is no mean: then the column holds the value plus the unit's influence on it).
            With `folds` = D, the M columns are D groups (one per draw), and the value is the mean over groups of the
            sum of the magnitudes of the column means, which is what the calibration error is; or, with `ratios`, each
            group holds the numerators of C ratios of sums and then their denominators, and the value is the mean over
            groups of the mean over ratios whose denominator is not 0, which is what a mean intersection over union is.
        folds, ratios: see `contributions`.
        binary: whether contributions are 0 or 100 and nothing else: exact tests apply.
        per_draw: the value under each of the protocol's own draws; empty where there are none.
    """

    name: str
    value: float
    interval: Callable[[], tuple[float, float]]
    units: np.ndarray
    strata: np.ndarray
    contributions: np.ndarray
    folds: int | None = None
    ratios: bool = False
    binary: bool = False
    per_draw: tuple[float, ...] = ()

    def combine(self, means: np.ndarray) -> np.ndarray:
        """Column means of resampled contributions, (R, M), to values of the metric, (R,)."""
        if self.folds is None:
            return means[:, 0]
        if self.ratios:
            above, below = np.moveaxis(means.reshape(len(means), self.folds, 2, -1), 2, 0)
            there = below > 0
            shares = np.divide(above, below, out=np.zeros_like(above), where=there)
            return (shares.sum(axis=2) / np.maximum(there.sum(axis=2), 1)).mean(axis=1)
        return np.abs(means).sum(axis=1) / self.folds

    def linear(self) -> np.ndarray | None:
        """(N,) the value plus each unit's influence on it: their mean is the value, to first order.

        None for sums of magnitudes, which have a kink where a fold's mean is 0.
        """
        if self.folds is None:
            return self.contributions[:, 0]
        if not self.ratios:
            return None
        above, below = np.moveaxis(self.contributions.reshape(len(self.units), self.folds, 2, -1), 2, 0)
        sums, wholes = above.mean(axis=0), below.mean(axis=0)
        there = wholes > 0
        shares = np.divide(sums, wholes, out=np.zeros_like(sums), where=there)
        # The derivative of a ratio: (a - share * b) / mean of b, averaged as the value is.
        change = np.divide(above - shares * below, wholes, out=np.zeros_like(above), where=there)
        return self.value + (change.sum(axis=2) / np.maximum(there.sum(axis=1), 1)).mean(axis=1)

    def metric(self) -> Metric:
        """The figure as it is stored and shown."""
        several = len(self.per_draw) > 1
        low, high = self.interval()
        return Metric(
            name=self.name,
            value=self.value,
            ci_low=low,
            ci_high=high,
            higher_is_better=definition_of(self.name).higher_is_better,
            n=len(self.units),
            spread=float(np.std(self.per_draw, ddof=1)) if several else None,
            draws=max(1, len(self.per_draw)),
        )


def share(name: str, units: np.ndarray, strata: np.ndarray, hit: np.ndarray) -> Estimate:
    """A share of units in percent, with Wilson's interval.

    Args:
        name: of the metric.
        units: (N,) ids in ascending order.
        strata: (N,) the target of each.
        hit: (N,) bool, whether it counts.
    """
    low, high = intervals.of_proportion(hit.astype(np.float64))
    values = 100.0 * hit
    return Estimate(
        name=name,
        value=float(values.mean()),
        interval=lambda: (100.0 * low, 100.0 * high),
        units=units,
        strata=strata,
        contributions=values[:, None],
        binary=True,
    )
