"""Tests of paired outcomes, and the correction for making several of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from benchmark.errors import ResultError


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value of McNemar's test.

    Args:
        lost: samples that only the first of two methods gets right.
        gained: samples that only the second gets right.
    """
    return float(mcnemar_of_many(np.array(lost), np.array(gained)))


def mcnemar_of_many(lost: np.ndarray, gained: np.ndarray) -> np.ndarray:
    """`mcnemar` for arrays of counts of any one shape."""
    # With equal chances the binomial is symmetric: both tails are the smaller one twice.
    return np.minimum(1.0, 2.0 * stats.binom.cdf(np.minimum(lost, gained), lost + gained, 0.5))


def mcnemar_one_sided(lost: int, gained: int) -> float:
    """Exact one-sided p-value of McNemar's test: so many gains or more among those that differ, were both as likely.

    Args:
        lost: samples that only the first of two methods gets right.
        gained: samples that only the second gets right.
    """
    return float(stats.binom.sf(gained - 1, lost + gained, 0.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): compare with alpha to keep the family-wise error below it."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise ResultError("p-values in [0, 1]", f"{p.min()} to {p.max()}", "check the tests that gave them")
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, raised)
    return adjusted.tolist()
