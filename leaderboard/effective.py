"""Effective robustness: accuracy on images from elsewhere above what clean accuracy lets one expect.

Taori, Dave, Shankar, Carlini, Recht & Schmidt, "Measuring Robustness to Natural Distribution Shifts in Image
Classification", NeurIPS 2020, section 2: rho(f) = acc_shifted(f) - beta(acc_clean(f)), beta a line on logit scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAME = "effective_robustness"
ENOUGH = 3
"""Models from which on there is a trend that a model can lie above."""


@dataclass(frozen=True)
class Trend:
    """Shifted accuracy as a function of clean accuracy, a straight line between their logits.

    Attributes:
        slope, intercept: of the line.
        models: how many it was fitted to.
    """

    slope: float
    intercept: float
    models: int

    def at(self, clean: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Percent that clean percent lets one expect."""
        return np.asarray(100 / (1 + np.exp(-(self.intercept + self.slope * _logit(np.asarray(clean))))))


def trend_of(points: Mapping[str, tuple[float, float]]) -> Trend | None:
    """The least-squares line through models' (clean, shifted) top-1 in percent.

    None for fewer than three models, or where all have the same clean accuracy.
    """
    if len(points) < ENOUGH:
        return None
    clean, shifted = (_logit(np.array(side, np.float64)) for side in zip(*points.values(), strict=True))
    if np.ptp(clean) < 1e-9:
        return None
    slope, intercept = np.polyfit(clean, shifted, 1)
    return Trend(float(slope), float(intercept), len(points))


def effective_robustness(points: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Model -> points of shifted top-1 above the trend of all of them; empty without a trend."""
    trend = trend_of(points)
    if trend is None:
        return {}
    return {model: shifted - float(trend.at(clean)) for model, (clean, shifted) in points.items()}


def _logit(percent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of accuracies kept a hundredth of a point away from 0 and 100, where it has no value."""
    share = np.clip(percent / 100, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(share / (1 - share)))
