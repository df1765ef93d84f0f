"""Clean against shifted accuracy: dots where the figures are, and a trend that is straight between logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leaderboard.charts import shift
from leaderboard.charts.chart import DATA
from tests.leaderboard.charts.tables import N, store_shift


def test_a_dot_is_at_its_two_accuracies_with_their_intervals(tmp_path: Path) -> None:
    study = store_shift(tmp_path, "m", 0.75, 0.5)
    chart = shift.one(study)
    (dot,) = chart.spec["datasets"][DATA]
    assert (dot["x"], dot["y"], dot["label"]) == (75.0, 50.0, "m")
    top1 = study.figures["top1"]
    assert (dot["y0"], dot["y1"]) == pytest.approx((top1.ci_low, top1.ci_high), abs=1e-3)
    assert "Drop 25.0 [" in chart.caption
    axes = [layer["encoding"][axis] for layer in chart.spec["layer"] for axis in "xy" if axis in layer["encoding"]]
    domains = [axis["scale"]["domain"] for axis in axes if "scale" in axis]
    assert len(domains) > 4 and all(
        domain == [40, 90] for domain in domains
    )  # tens around all intervals, the same for both axes


def test_the_trend_of_three_models_or_more_is_straight_between_logits(tmp_path: Path) -> None:
    studies = [store_shift(tmp_path, f"m{k}", clean, shifted) for k, (clean, shifted) in enumerate(
        ((0.5, 0.2), (0.7, 0.45), (0.9, 0.7))
    )]  # fmt: skip
    assert not [row for row in shift.points(studies[:2]) if row["part"] == "trend"]
    trend = [(row["x"], row["y"]) for row in shift.points(studies) if row["part"] == "trend"]
    x, y = (np.log(np.array(side) / (100 - np.array(side))) for side in zip(*trend, strict=True))
    clean, shifted = (np.log(np.array(side) / (1 - np.array(side))) for side in ((0.5, 0.7, 0.9), (0.2, 0.45, 0.7)))
    slope, intercept = np.polyfit(clean, shifted, 1)
    np.testing.assert_allclose(y, intercept + slope * x, atol=1e-3)
    assert trend[0][0] == 50.0 and trend[-1][0] == 90.0
    assert "effective robustness" in shift.several(studies).caption


def test_of_many_models_all_have_a_dot_and_a_dozen_a_name(tmp_path: Path) -> None:
    studies = [store_shift(tmp_path, f"m{k:02d}", 0.3 + 0.04 * k) for k in range(14)]
    dots = [row for row in shift.points(studies) if row["part"] == "model"]
    assert len(dots) == 14 and [row["series"] for row in dots if not row["label"]] == ["m00", "m01"]
    assert all(row["x"] == pytest.approx(100 * round(N * (0.3 + 0.04 * k)) / N, abs=1) for k, row in enumerate(dots))
