"""How well a score tells two sets of images apart: areas under curves, and false positives at a recall.

Images inside are those that should score high. The two sets are drawn apart, so their sizes are held fixed: the
influences of each set have zero mean. Equal scores count as half a pair of them, and pass a threshold together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from benchmark.metrics import intervals
from benchmark.metrics.average_precision import curve_of, step
from benchmark.metrics.estimate import Share

RECALL = 0.95
"""Of the images inside, at the threshold of `false_positives`."""


def roc_area(inside: np.ndarray, outside: np.ndarray) -> Share:
    """The chance that an image inside scores higher than one outside: the area under the ROC curve.

    The standard error is that of DeLong, DeLong & Clarke-Pearson 1988: from the placement of each image among those of
    the other set, which is also its influence.

    Args:
        inside: (M,) scores, two or more.
        outside: (N,) likewise.

    Returns:
        with the influences of `inside` and then of `outside`.
    """
    m, n = len(inside), len(outside)
    rank = rankdata(np.concatenate([inside, outside]))
    above = (rank[:m] - rankdata(inside)) / n  # the share of the others that each beats
    below = 1 - (rank[m:] - rankdata(outside)) / m
    value = float(above.mean())
    error = np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    return Share(
        value, _influence(above - value, below - value), intervals.on_logit_scale(value, float(error), min(m, n))
    )


def false_positives(inside: np.ndarray, outside: np.ndarray, recall: float = RECALL) -> Share:
    """The share of images outside that score at or above the highest threshold that `recall` of those inside reach.

    Two things are uncertain, the threshold and the share beyond it. Their limits (the order statistics at Wilson's
    limits of the recall, free of any distribution; Wilson's interval of the share) are joined by the method of variance
    estimates recovery (Zou & Donner 2008).

    Args, returns: as of `roc_area`.
    """
    m, n = len(inside), len(outside)
    falling, rising = np.sort(inside)[::-1], np.sort(outside)

    def beyond(threshold: float) -> float:
        return 1 - int(np.searchsorted(rising, threshold)) / n

    def reached(share: float) -> float:
        """The threshold that this share of the images inside reach."""
        return float(falling[min(m, max(1, int(np.ceil(share * m - 1e-9)))) - 1])

    threshold = reached(recall)
    value = beyond(threshold)
    least, most = intervals.wilson(recall, m)
    low, high = intervals.wilson(value, n)
    bounds = (
        max(0.0, value - float(np.hypot(value - low, value - beyond(reached(float(least)))))),
        min(1.0, value + float(np.hypot(high - value, beyond(reached(float(most))) - value))),
    )
    missed = inside < threshold
    moved = (missed - missed.mean()) * _ratio(inside, outside, falling, threshold)
    return Share(value, _influence(moved, (outside >= threshold) - value), bounds)


def precision_area(inside: np.ndarray, outside: np.ndarray) -> Share:
    """Average precision at finding the images inside (`sklearn.metrics.average_precision_score`).

    Args, returns: as of `roc_area`.
    """
    m = len(inside)
    positive = np.arange(m + len(outside)) < m
    found = step(curve_of(positive, np.concatenate([inside, outside])))
    # Drawn together, a larger share of images inside would raise it; their number is held fixed.
    influence = found.influence - np.where(positive, found.influence[:m].mean(), found.influence[m:].mean())
    value = float(np.clip(found.value, 0, 1))
    return Share(value, influence, intervals.on_logit_scale(value, intervals.standard_error(influence), m))


def swapped(figure: Share, first: int) -> Share:
    """A figure with the influences of its `first` images put last: for one of the sets in the other order."""
    return replace(figure, influence=np.roll(figure.influence, -first))


def _influence(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """On a sum of a mean over each set, from the deviations of each: for a mean over both together."""
    total = len(inside) + len(outside)
    return np.concatenate([inside * total / len(inside), outside * total / len(outside)])


def _ratio(inside: np.ndarray, outside: np.ndarray, falling: np.ndarray, threshold: float) -> float:
    """How much denser images outside are than those inside, about a threshold: among sqrt(M) images inside on each side
    of it, or half of those below it where these are fewer.
    """
    m, place = len(inside), int(np.searchsorted(-falling, -threshold))
    width = max(1, min(round(m**0.5), (m - place) // 2))
    low, high = falling[min(m - 1, place + width)], falling[max(0, place - width)]
    among_outside, among_inside = (np.mean((scores >= low) & (scores <= high)) for scores in (outside, inside))
    return float(among_outside / among_inside)
