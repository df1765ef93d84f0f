"""95% confidence intervals over test samples: closed forms where they are exact, a seeded bootstrap elsewhere.

Arguments are shares in [0, 1], not percent.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from benchmark.errors import ResultError

Z = NormalDist().inv_cdf(0.975)
REPLICATES = 1000
_FEW = 256
_BLOCK_NUMBERS = 4_000_000  # resampled indices held at once (32 MB)


def wilson(share: np.ndarray | float, size: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a proportion (Wilson 1927); stays inside [0, 1] and has width at 0 and 1.

    Args:
        share: observed proportions.
        size: numbers of trials behind them (may be fractional: an effective size).
    """
    p, n = np.asarray(share, dtype=np.float64), np.asarray(size, dtype=np.float64)
    centre = p + Z**2 / (2 * n)
    half = Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    # Rounding must not put the limits beside a proportion of 0 or 1.
    low, high = np.where(p == 0, 0, (centre - half) / scale), np.where(p == 1, 1, (centre + half) / scale)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def effective_size(share: np.ndarray, variance: np.ndarray, n: np.ndarray, draws: int) -> np.ndarray:
    """The number of 0/1 trials that would be as informative as n units which are each a mean over `draws`.

    n p(1-p) / variance (the design effect of survey statistics): n itself for one draw, at most n * draws.
    """
    binomial = share * (1 - share)
    safe = np.where(variance > 0, variance, 1.0)
    size = np.where(variance > 0, n * binomial / safe, np.where(binomial > 0, n * draws, n))
    return np.clip(size, n, n * draws)


def of_proportion(per_unit: np.ndarray, draws: int = 1) -> tuple[float, float]:
    """Interval of a mean over units that are 0/1, or means of 0/1 over draws, (N,): Wilson with the effective size."""
    share, variance, n = (np.asarray(part) for part in (per_unit.mean(), per_unit.var(), float(len(per_unit))))
    low, high = wilson(share, effective_size(share, variance, n, draws))
    return float(low), float(high)


def of_mean_over_groups(per_unit: np.ndarray, group: np.ndarray, draws: int = 1) -> tuple[float, float]:
    """Interval of the mean over groups of group means, sizes held fixed.

    Each group's own Wilson limits are combined by the method of variance estimates recovery (Zou & Donner 2008),
    which is Wilson's interval for one group and does not collapse where every group is all right or all wrong.

    Args:
        per_unit: (N,) in [0, 1].
        group: (N,) integers; groups without units do not count.
        draws: how many draws each unit is a mean over.
    """
    _, index, n = np.unique(group, return_inverse=True, return_counts=True)
    share = np.bincount(index, per_unit) / n
    variance = np.bincount(index, (per_unit - share[index]) ** 2) / n
    low, high = wilson(share, effective_size(share, variance, n.astype(np.float64), draws))
    value, weight = share.mean(), 1 / len(n)
    below = weight * np.sqrt(((share - low) ** 2).sum())
    above = weight * np.sqrt(((high - share) ** 2).sum())
    return float(max(0.0, value - below)), float(min(1.0, value + above))


def of_mean(per_unit: np.ndarray, ddof: int = 1) -> tuple[float, float]:
    """Normal interval of a mean, mean -+ 1.96 std / sqrt(n).

    Raises:
        ResultError: a single unit has no spread.
    """
    n = len(per_unit)
    if n < 2:
        raise ResultError("at least 2 units for an interval", f"{n}", "report on a larger split")
    half = Z * per_unit.std(ddof=ddof) / np.sqrt(n)
    return float(per_unit.mean() - half), float(per_unit.mean() + half)


def standard_error(influence: np.ndarray) -> float:
    """Of a figure, from each unit's influence on it (the infinitesimal jackknife)."""
    return float(influence.std() / np.sqrt(len(influence)))


def on_logit_scale(value: float, error: float, n_positive: int) -> tuple[float, float]:
    """Interval of a score in [0, 1] with a known standard error.

    The logit keeps the limits inside [0, 1] and is the scale recommended for areas under precision-recall curves
    (Boyd, Eng & Page 2013). At 0 and 1, where it has no meaning, Wilson's interval over the positives takes its place.
    """
    if not 0 < value < 1 or error == 0:
        low, high = wilson(value, max(1, n_positive))
        return float(low), float(high)
    logit, half = np.log(value / (1 - value)), Z * error / (value * (1 - value))
    return float(1 / (1 + np.exp(half - logit))), float(1 / (1 + np.exp(-half - logit)))


def resampled_means(contributions: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """Column means of `replicates` bootstrap samples of the rows: (N, M) -> (replicates, M).

    Columns are drawn together: tables laid side by side are resampled in pairs. Works on blocks of
    multinomial counts times the contributions: no loop over samples, memory bounded.
    A single column of few different values takes no counts of rows at all.
    """
    n = len(contributions)
    rng = np.random.default_rng(seed)
    if contributions.shape[1] == 1:
        values, counts = np.unique(contributions, return_counts=True)
        if len(values) <= _FEW:  # drawing rows is drawing how often each value comes
            return (rng.multinomial(n, counts / n, replicates) @ values / n)[:, None]
    block = max(1, min(replicates, _BLOCK_NUMBERS // n))
    means = np.empty((replicates, contributions.shape[1]))
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        drawn = rng.integers(0, n, (rows, n), dtype=np.int32).astype(np.int64)
        drawn += np.arange(rows)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means[start : start + rows] = counts.astype(np.float64) @ contributions / n
    return means


def of_magnitudes(contributions: np.ndarray, folds: int = 1) -> tuple[float, float]:
    """Interval of a sum of magnitudes of column means, (N, M), divided by `folds`: what a calibration error is.

    Noise adds to every magnitude, so the figure is biased upwards and resampling adds the bias again: percentile limits
    can miss the truth every time. Instead the observed means are scaled by s, noise from the bootstrap is put on top,
    and the limits are the s at which the observed figure would lie at the 2.5% ends of what is then seen (a bootstrap
    test turned round). The interval is widened to hold the figure itself.
    """
    means = contributions.mean(axis=0)
    noise = resampled_means(contributions) - means
    value = float(np.abs(means).sum()) / folds

    def largest_scale(level: float) -> float:
        low, high = 0.0, 8.0
        for _ in range(40):
            scale = (low + high) / 2
            seen = np.abs(scale * means + noise).sum(axis=1) / folds
            low, high = (scale, high) if np.quantile(seen, level) <= value else (low, scale)
        return low

    return min(value, largest_scale(0.975) * value), max(value, largest_scale(0.025) * value)


def of_ratios(
    contributions: np.ndarray, value: float, combine: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float]:
    """Interval of a figure that is no mean over units but a function of the means of (N, M) contributions.

    A percentile bootstrap, moved onto the figure: resampling loses rare classes now and then, which shifts the
    replicates as a whole and says nothing of the spread.
    """
    replicates = combine(resampled_means(contributions))
    low, high = np.quantile(replicates - replicates.mean(), (0.025, 0.975))
    return value + float(low), value + float(high)
