"""Selective prediction: the error among the images that a classifier is surest of, at every coverage.

Images with equal scores come in no order, so figures are their expectation over all orders of such images; a threshold
on the score takes them all or none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmark.metrics import intervals
from benchmark.metrics.average_precision import Curve, curve_of
from benchmark.metrics.estimate import Share


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve of N images (El-Yaniv & Wiener 2010), position 0 the surest.

    Attributes:
        thresholds: at each distinct score from the highest down: errors and images at or above it.
        errors: (N + 1,) errors among the surest 0, 1, ... N images; expected ones within equal scores.
    """

    thresholds: Curve
    errors: np.ndarray

    @property
    def n(self) -> int:
        """Images."""
        return len(self.errors) - 1

    @property
    def risk(self) -> np.ndarray:
        """(N,) the share of errors among the surest 1, 2, ... N images."""
        return self.errors[1:] / np.arange(1, self.n + 1)

    @property
    def optimum(self) -> float:
        """Area under the curve of the same errors where every one of them is less sure than every hit.

        The sum of Geifman, Uziel & El-Yaniv 2019 (section 3), which they approximate by r + (1 - r) log(1 - r).
        """
        wrong = round(float(self.errors[-1]))
        late = np.arange(1, wrong + 1)
        return float((late / (self.n - wrong + late)).sum() / self.n)

    def within(self, count: int) -> np.ndarray:
        """(N,) the share of orders of equal scores in which each image is among the surest `count`."""
        curve = self.thresholds
        size = np.diff(curve.shown, prepend=0.0)
        inside = np.clip((count - (curve.shown - size)) / size, 0.0, 1.0)
        return np.asarray(inside[curve.rank])

    def local(self, start: np.ndarray | int, stop: np.ndarray | int) -> np.ndarray:
        """The share of errors at positions `start` to `stop`, cut where the images end."""
        first, last = np.clip(start, 0, self.n), np.clip(stop, 0, self.n)
        return np.asarray((self.errors[last] - self.errors[first]) / (last - first))

    @property
    def window(self) -> int:
        """Images on each side of a threshold over which the error there is averaged."""
        return max(1, round(self.n**0.5))


def risk_coverage(score: np.ndarray, wrong: np.ndarray) -> RiskCoverage:
    """The curve of N images.

    Args:
        score: (N,), higher is surer.
        wrong: (N,) bool.
    """
    curve = curve_of(wrong, score)
    at, errors = np.append(0.0, curve.shown), np.append(0.0, curve.true)
    return RiskCoverage(curve, np.interp(np.arange(len(score) + 1), at, errors))


def area(curve: RiskCoverage) -> Share:
    """AURC: the mean of the risk over the coverages 1/N, 2/N, ... 1 (Geifman et al. 2019); less is better.

    With weights w in order of the score it is sum_i w_i R_i / sum w, R_i a ratio of sums up to i; its derivative by w_j
    at w = 1 is the influence: R_j - AURC + sum of (error_j - R_i) / i over i from j on.
    """
    risk, value = curve.risk, float(curve.risk.mean())
    place = np.arange(1, curve.n + 1)
    influence = (
        _over_equals(curve, risk)
        - value
        + curve.thresholds.positive * _over_equals(curve, _from_here_on(1 / place))
        - _over_equals(curve, _from_here_on(risk / place))
    )
    return _logit(value, influence, curve)


def excess_area(curve: RiskCoverage) -> Share:
    """E-AURC: the area above that of the same errors in the best order (Geifman et al. 2019)."""
    rate = curve.errors[-1] / curve.n
    slope = -np.log1p(-rate) if rate < 1 else 0.0  # of the optimum by the share of errors
    influence = area(curve).influence - slope * (curve.thresholds.positive - rate)
    return _logit(max(0.0, float(curve.risk.mean()) - curve.optimum), influence, curve)


def accuracy_at(curve: RiskCoverage, coverage: float) -> Share:
    """The accuracy on the ceil(coverage N) surest images.

    Its error has two parts: the luck of those images, and where the threshold falls, which moves images that are right
    as often as those around it. Wilson's interval with the number of images that would be as informative.
    """
    count = int(np.ceil(coverage * curve.n - 1e-9))
    share = count / curve.n
    risk = float(curve.errors[count]) / count
    here = float(curve.local(count - curve.window, count + curve.window))
    inside = curve.within(count)
    influence = ((here - curve.thresholds.positive) * inside - (here - risk) * share) / share
    size = _effective(np.array(risk), np.array(float(np.mean(influence**2))), np.array(count), curve.n)
    low, high = intervals.wilson(1 - risk, size)
    return Share(1 - risk, influence, (min(1 - risk, float(low)), max(1 - risk, float(high))))


def coverage_at(curve: RiskCoverage, limit: float) -> Share:
    """The largest share of images at or above one score among which at most `limit` are wrong; 0 without any.

    The interval holds every coverage whose own interval of the risk holds `limit`; and what is less than the surest
    images, of which nothing is known.
    """
    shown, risk = curve.thresholds.shown, curve.thresholds.precision
    share, place = shown / curve.n, shown.astype(np.int64)
    here = curve.local(place - curve.window, place + curve.window)
    variance = risk * (1 - risk) / share + (risk - here) ** 2 * (1 - share) / share
    low, high = intervals.wilson(risk, _effective(risk, variance, shown, curve.n))
    value = _largest(share, risk <= limit)
    bounds = _largest(share, high <= limit), max(value, float(share[0]), _largest(share, low <= limit))
    if value in (0.0, 1.0):
        return Share(value, np.zeros(curve.n), bounds)
    # The risk crosses the limit here: what an image changes in the risk, over the slope of the risk.
    count = round(value * curve.n)
    beyond, inside = float(curve.local(count, count + curve.window)), float(curve.errors[count]) / count
    change = (curve.thresholds.positive - beyond) * curve.within(count) - (inside - beyond) * value
    return Share(value, change / (inside - beyond), bounds)


def _over_equals(curve: RiskCoverage, by_place: np.ndarray) -> np.ndarray:
    """(N,) for each image the mean of (N,) values by position over the positions of its score."""
    shown = curve.thresholds.shown.astype(np.int64)
    sums = np.add.reduceat(by_place, np.append(0, shown[:-1]))
    return np.asarray((sums / np.diff(shown, prepend=0))[curve.thresholds.rank])


def _from_here_on(values: np.ndarray) -> np.ndarray:
    """(N,) sums from each position to the last."""
    return np.cumsum(values[::-1])[::-1]


def _effective(risk: np.ndarray, variance: np.ndarray, count: np.ndarray, n: int) -> np.ndarray:
    """How many independent images would be as informative of a risk: from 1 to those that it is a mean over.

    Args:
        risk: the share of errors.
        variance: mean square of N influences on it.
        count: how many images it is a mean over.
        n: N.
    """
    spread = n * risk * (1 - risk)
    size = np.divide(spread, variance, out=np.array(count, np.float64), where=(spread > 0) & (variance > 0))
    return np.clip(size, 1, count)


def _largest(share: np.ndarray, allowed: np.ndarray) -> float:
    return float(share[allowed].max(initial=0.0))


def _logit(value: float, influence: np.ndarray, curve: RiskCoverage) -> Share:
    """With Student's t for as many degrees of freedom as there are errors (or hits): a few errors say little of their
    own spread.
    """
    wrong = int(curve.thresholds.true[-1])
    widened = (
        intervals.standard_error(influence) * stats.t.ppf(0.975, max(1, min(wrong, curve.n - wrong))) / intervals.Z
    )
    return Share(value, influence, intervals.on_logit_scale(value, widened, curve.n))
