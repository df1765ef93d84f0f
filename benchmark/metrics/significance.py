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
    if lost + gained == 0:
        return 1.0
    return float(stats.binomtest(lost, lost + gained, 0.5).pvalue)


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
