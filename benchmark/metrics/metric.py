"""One figure: a metric's value with its interval, and the sample it was computed on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric computed from stored predictions.

    Attributes:
        name: the field's name, with a variant after `@` (`top1`, `top1@k20`, `top1@5way-1shot`).
        value: in percent where the field quotes percent; NaN is never a value (scorers raise instead).
        ci_low, ci_high: 95% interval over test samples (or over episodes, where the protocol says so).
        higher_is_better: direction.
        n: how many samples (or episodes) the value is a mean over.
        spread: standard deviation over the protocol's own random draws (not over samples); None without draws.
        draws: the number of such draws.
    """

    name: str
    value: float
    ci_low: float
    ci_high: float
    higher_is_better: bool
    n: int
    spread: float | None = None
    draws: int = 1
