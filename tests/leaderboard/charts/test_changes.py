"""Curves of ever stronger changes, against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.metrics.changes import Kind, changes_table
from leaderboard.charts import changes
from leaderboard.charts.chart import DATA
from leaderboard.charts.pictures import png
from tests.leaderboard.charts.tables import CLASSES, IDS, TARGETS, N, answers, store, store_colour, store_occlusion


def top1(skill: float) -> float:
    return 100 * float((answers(skill) == TARGETS).mean())


def test_a_curve_has_each_level_and_the_images_as_they_are(tmp_path: Path) -> None:
    rows = changes.one(store_occlusion(tmp_path, "m", 0.9)).spec["datasets"][DATA]
    drop = [(row["x"], row["v"]) for row in rows if row.get("kind") == "drop"]
    wanted = [(0, top1(0.9)), (10, top1(0.81)), (50, top1(0.45)), (90, top1(0.09))]
    assert drop == [(x, pytest.approx(v, abs=1e-3)) for x, v in wanted]
    shuffled = [row for row in rows if row.get("kind") == "shuffle"]
    assert [row["x"] for row in shuffled] == [1, 2, 4, 14, 28]
    last = shuffled[-1]
    limits = stats.binomtest(round(N * last["v"] / 100), N).proportion_ci(method="wilson")
    assert (last["low"], last["high"]) == pytest.approx((100 * limits.low, 100 * limits.high), abs=1e-3)
    (clean,) = [row for row in rows if row["part"] == "clean"]
    assert clean["v"] == pytest.approx(top1(0.9), abs=1e-3)


def test_models_share_panels(tmp_path: Path) -> None:
    studies = [store_occlusion(tmp_path, name, skill) for name, skill in (("a", 0.9), ("b", 0.5))]
    spec = changes.several(studies).spec
    assert [part["title"]["text"] for part in spec["hconcat"]] == ["patches dropped", "patches shuffled"]
    found = {row["series"]: row["v"] for row in spec["datasets"][DATA] if row["part"] == "clean"}
    assert found == {"a": pytest.approx(top1(0.9), abs=1e-3), "b": pytest.approx(top1(0.5), abs=1e-3)}


def test_levels_that_crowd_at_one_end_are_drawn_at_equal_distances() -> None:
    assert changes.spaced(Kind((4, 8, 16, 32, 64), "frequencies"))
    assert not changes.spaced(Kind((10, 20, 30, 40, 50, 60, 70, 80, 90), "percent"))
    assert not changes.spaced(Kind((60, 120, 180, 240, 300), "degrees")) and not changes.spaced(Kind((100,), "percent"))


def test_what_colour_tells_is_in_the_caption(tmp_path: Path) -> None:
    caption = changes.one(store_colour(tmp_path, "m", 0.9)).caption
    assert f"A colour histogram alone gives {top1(0.3):.1f}; features tell 75.0% of its variance." in caption


def test_the_name_of_a_kind_is_never_code(tmp_path: Path) -> None:
    name = "x' || alert(1) || '"
    kinds = {name: Kind((1.0, 2.0), "how much")}
    found = {name: np.stack([answers(0.5), answers(0.3)], axis=1)}
    table = changes_table(IDS, TARGETS, answers(0.9), kinds, found, CLASSES)
    chart = changes.one(store(tmp_path, "m", table, "changes", "top1@changed", "mine"))
    (panel,) = chart.spec["hconcat"]
    filters = [step["filter"] for layer in panel["layer"][1]["layer"] for step in layer["transform"]]
    assert filters == [{"field": "kind", "equal": name}] * 3
    assert png(chart, "m").startswith(b"\x89PNG")
