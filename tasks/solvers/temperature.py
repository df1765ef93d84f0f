"""Temperature scaling (Guo et al. 2017): one number that makes held-out logits as probable as they can be."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOWEST, _HIGHEST = math.log(1e-4), math.log(1e4)
"""Limits of log(temperature). Held-out logits that are all right want 0, all wrong ones infinity: both stop here."""
_STEPS = 200


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The T > 0 that minimises the mean of -log softmax(logits / T)[target].

    In beta = 1 / T the objective is convex, so its derivative has one sign change at most: it is found by bisection
    over log T, which cannot diverge, to the last digits of float64.

    Args:
        logits: (N, C).
        targets: (N,) int64.

    Raises:
        ValueError: no samples, or logits that are not finite.
    """
    if not len(logits) or not bool(torch.isfinite(logits).all()):
        raise ValueError(f"{len(logits)} samples, finite: {bool(torch.isfinite(logits).all())}")
    wide = logits.double()
    right = wide.gather(1, targets[:, None])[:, 0]

    def slope(log_temperature: float) -> float:
        """Derivative of the objective by beta: the expected logit minus the target's."""
        weights = torch.softmax(wide * math.exp(-log_temperature), dim=1)
        return float(((weights * wide).sum(dim=1) - right).mean())

    low, high = _LOWEST, _HIGHEST
    if slope(low) <= 0:  # sharper is better still
        return math.exp(low)
    if slope(high) >= 0:  # flatter is better still
        return math.exp(high)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return math.exp((low + high) / 2)
