"""A dot for each category where its share of decisions for the shape is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leaderboard.charts import shape_bias
from leaderboard.charts.chart import DATA
from tests.leaderboard.charts.tables import TARGETS, answers, store_shape_bias


def test_dots_and_line_are_shares_of_decisions_for_the_shape(tmp_path: Path) -> None:
    chart = shape_bias.one(store_shape_bias(tmp_path, "m", 0.4))
    by_shape = answers(0.4) == TARGETS
    rows = chart.spec["datasets"][DATA]
    (whole,) = [row for row in rows if row["part"] == "all"]
    assert whole["v"] == pytest.approx(100 * by_shape.mean(), abs=1e-3)
    dots = {row["c"]: row["v"] for row in rows if row["part"] == "category"}
    shares = {name: 100 * by_shape[k == TARGETS % 3].mean() for k, name in enumerate(("bear", "cat", "dog"))}
    assert dots == {name: pytest.approx(share, abs=1e-3) for name, share in shares.items()}


def test_shape_is_on_the_left_and_categories_of_most_shape_on_top(tmp_path: Path) -> None:
    studies = [store_shape_bias(tmp_path, name, skill) for name, skill in (("a", 0.3), ("b", 0.6))]
    spec = shape_bias.several(studies).spec
    encodings = [layer["encoding"] for layer in spec["layer"]]
    assert all(each["x"]["scale"] == {"domain": [0, 100], "reverse": True} for each in encodings)
    (order,) = [each["y"]["sort"] for each in encodings if "y" in each]
    rows = [row for row in spec["datasets"][DATA] if row["part"] == "category"]
    means = [np.mean([row["v"] for row in rows if row["c"] == name]) for name in order]
    assert means == sorted(means, reverse=True) and len(order) == 3
