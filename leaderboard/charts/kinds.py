"""Which results can be drawn, and how: by the scorer of a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leaderboard.charts import adversarial, calibration, changes, corruptions, ood, shape_bias, shift
from leaderboard.charts.chart import Chart
from leaderboard.charts.study import Study


@dataclass(frozen=True)
class Kind:
    """How the results of a scorer are drawn.

    Attributes:
        one: a result alone.
        several: results of several models that may be ranked together.
    """

    one: Callable[[Study], Chart]
    several: Callable[[Sequence[Study]], Chart]


KINDS: Mapping[str, Kind] = {
    "corruptions": Kind(corruptions.one, corruptions.several),
    "imagenet-c": Kind(corruptions.one, corruptions.several),
    "changes": Kind(changes.one, changes.several),
    "adversarial": Kind(adversarial.one, adversarial.several),
    "calibration": Kind(calibration.one, calibration.several),
    "ood": Kind(ood.one, ood.several),
    "shift": Kind(shift.one, shift.several),
    "shape-bias": Kind(shape_bias.one, shape_bias.several),
}
"""By the name of the scorer."""
