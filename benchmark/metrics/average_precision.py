"""Average precision of a ranking under its three definitions, with each sample's influence on it.

Precision and recall are taken where the score changes, so tied samples count together and their order does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ELEVEN = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Curve:
    """Precision and recall at every distinct score, from the highest down.

    Attributes:
        true, shown: (T,) positives and all samples at or above each threshold.
        gained: (T,) positives at the threshold itself.
        rank: (N,) the threshold at which each sample enters.
        positive: (N,) bool.
    """

    true: np.ndarray
    shown: np.ndarray
    gained: np.ndarray
    rank: np.ndarray
    positive: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """(T,)"""
        return self.true / self.shown

    @property
    def recall(self) -> np.ndarray:
        """(T,)"""
        return self.true / self.true[-1]


@dataclass(frozen=True)
class AveragePrecision:
    """A value in [0, 1] and the (N,) influence of each sample on it (zero mean)."""

    value: float
    influence: np.ndarray


def curve_of(positive: np.ndarray, scores: np.ndarray) -> Curve:
    """The precision-recall curve of N samples, at least one of them positive.

    Args:
        positive: (N,) bool.
        scores: (N,), higher first.
    """
    _, rank = np.unique(-scores, return_inverse=True)
    gained = np.bincount(rank, positive)
    shown = np.cumsum(np.bincount(rank)).astype(np.float64)
    return Curve(np.cumsum(gained), shown, gained, rank, positive)


def step(curve: Curve) -> AveragePrecision:
    """Sum of precision times the gain in recall: `sklearn.metrics.average_precision_score`."""
    return _area(curve, np.arange(len(curve.true), dtype=np.int64))


def interpolated(curve: Curve) -> AveragePrecision:
    """Area under the curve of the best precision at this recall or beyond (VOC 2010 onwards, VISSL)."""
    return _area(curve, _best_beyond(curve.precision))


def eleven_points(curve: Curve) -> AveragePrecision:
    """Mean of the best precision at or beyond recall 0, .1, ..., 1 (VOC 2007's development kit).

    ssl-transfer differs at recall 0, where it always counts 1: scikit-learn's curve, which it reads, ends there.
    """
    best = _best_beyond(curve.precision)
    # A recall of k/P computed in floating point may fall below the decimal .1, .2, ... that it equals.
    first = np.searchsorted(curve.recall, _ELEVEN - 1e-12, side="left")
    weight = np.bincount(best[first], minlength=len(curve.true)) / len(_ELEVEN)
    value = float((curve.precision * weight).sum())
    return AveragePrecision(value, _centred(_through_precision(curve, weight)))


def _area(curve: Curve, used: np.ndarray) -> AveragePrecision:
    """Sum over thresholds of gain in recall times the precision at threshold `used` (T,).

    With sample weights w the area is sum_t g_t p_used(t) / P, where g, P and p are sums of weights; differentiating at
    w = 1 gives the influence: through the gain, through the number of positives, and through the precisions.
    """
    n, positives = len(curve.positive), curve.true[-1]
    height = curve.precision[used]
    value = float((curve.gained * height).sum() / positives)
    share = np.bincount(used, curve.gained / positives, minlength=len(curve.true))
    through_gain = np.where(curve.positive, (height[curve.rank] - value) / positives, 0.0) * n
    return AveragePrecision(value, _centred(through_gain + _through_precision(curve, share)))


def _through_precision(curve: Curve, weight: np.ndarray) -> np.ndarray:
    """The derivative, times n, of sum_t weight_t precision_t by each sample's weight: (N,).

    A sample that enters at or before threshold t changes precision_t by (positive - precision_t) / shown_t.
    """
    for_positive = np.cumsum((weight / curve.shown)[::-1])[::-1]
    for_any = np.cumsum((weight * curve.precision / curve.shown)[::-1])[::-1]
    n = len(curve.positive)
    return n * (curve.positive * for_positive[curve.rank] - for_any[curve.rank])


def _best_beyond(precision: np.ndarray) -> np.ndarray:
    """(T,) for each threshold, the later-or-same threshold with the highest precision (the latest among equals)."""
    reverse = precision[::-1]
    best = np.maximum.accumulate(reverse)
    grew = np.concatenate([[True], best[1:] > best[:-1]])
    place = np.maximum.accumulate(np.where(grew, np.arange(len(reverse)), 0))
    return len(precision) - 1 - place[::-1]


def _centred(influence: np.ndarray) -> np.ndarray:
    return influence - influence.mean()
