"""Errors under corruptions, cell by cell, against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.metrics.corruptions import ALEXNET, EXTRA, FIFTEEN, corruptions_table
from leaderboard.charts import corruptions
from leaderboard.charts.chart import DATA, LINES
from leaderboard.charts.kinds import KINDS
from tests.leaderboard.charts.tables import IDS, TARGETS, N, answers, store, store_corruptions


def error(skill: float) -> float:
    return 100 * float((answers(skill) != TARGETS).mean())


def test_each_cell_holds_the_error_of_its_corruption_and_severity(tmp_path: Path) -> None:
    study = store_corruptions(tmp_path, "m", 0.9)
    cells = {(row["c"], row["s"]): row for row in corruptions.one(study).spec["datasets"][DATA]}
    assert len(cells) == 1 + 16 * 6
    for place, name in enumerate(FIFTEEN):
        errors = [error(0.9 - 0.1 * s - 0.01 * place) for s in range(1, 6)]
        assert [cells[name, s]["v"] for s in range(1, 6)] == pytest.approx(errors, abs=1e-3)
        assert cells[name, 0]["v"] == pytest.approx(np.mean(errors), abs=1e-3)
    whole = [np.mean([error(0.9 - 0.1 * s - 0.01 * place) for place in range(15)]) for s in range(1, 6)]
    assert [cells[corruptions.TOGETHER, s]["v"] for s in range(1, 6)] == pytest.approx(whole, abs=1e-3)
    assert cells[corruptions.TOGETHER, 0]["v"] == pytest.approx(np.mean(whole), abs=1e-3)
    clean = cells[corruptions.CLEAN, 0]
    assert clean["v"] == pytest.approx(error(0.9), abs=1e-3)
    limits = stats.binomtest(round(N * error(0.9) / 100), N).proportion_ci(method="wilson")
    assert (clean["low"], clean["high"]) == pytest.approx((100 * limits.low, 100 * limits.high), abs=1e-3)
    caption = corruptions.one(study).caption
    assert f"Clean {error(0.9):.1f}; mean {np.mean(whole):.1f} [" in caption


def test_groups_stand_apart_and_cells_of_one_corruption_in_one_row(tmp_path: Path) -> None:
    rows = corruptions.rows_of(extra=True)
    places = [rows[name] for name in (corruptions.CLEAN, *FIFTEEN, *EXTRA, corruptions.TOGETHER)]
    steps = np.diff(places)
    wide = np.flatnonzero(steps > 1.2).tolist()
    assert wide == [0, 3, 7, 11, 15, 19]  # noise 3, blur 4, weather 4, digital 4, extra 4
    assert steps.min() == pytest.approx(1.0)
    cells = corruptions.cells(store_corruptions(tmp_path, "m", 0.9, extra=True))
    assert {row["c"]: row["y"] for row in cells} == dict(rows)
    assert {row["s"] for row in cells if row["c"] == "spatter"} == {0, 1, 2, 3, 4, 5}


def test_models_have_a_line_from_clean_images_to_severity_five(tmp_path: Path) -> None:
    studies = [store_corruptions(tmp_path, name, skill) for name, skill in (("a", 0.9), ("b", 0.7))]
    rows = corruptions.several(studies).spec["datasets"][DATA]
    for name, skill in (("a", 0.9), ("b", 0.7)):
        line = [row["v"] for row in rows if row["part"] == "line" and row["series"] == name]
        by_hand = [np.mean([error(skill - 0.1 * s - 0.01 * place) for place in range(15)]) for s in range(1, 6)]
        assert line == pytest.approx([error(skill), *by_hand], abs=1e-3)
        assert sum(row["part"] == "cell" and row["series"] == name for row in rows) == 97


def test_of_very_many_models_the_best_dozen_has_lines_and_the_others_are_named(tmp_path: Path) -> None:
    studies = [store_corruptions(tmp_path, f"m{k:02d}", 0.5 + 0.03 * k) for k in range(14)]
    chart = corruptions.several(studies)
    drawn = list(dict.fromkeys(row["series"] for row in chart.spec["datasets"][DATA]))
    assert drawn == [f"m{k:02d}" for k in range(2, 14)] and len(drawn) == LINES  # the least error, in their own order
    assert "The best 12 of 14 models; without a line: m01, m00." in chart.caption


def test_the_published_files_say_their_mce(tmp_path: Path) -> None:
    found = {name: np.repeat(answers(0.5)[:, None], 5, axis=1) for name in FIFTEEN}
    table = corruptions_table(IDS, TARGETS, answers(0.9), found, 1000, "imagenet-c")
    study = store(tmp_path, "m", table, "imagenet-c", "mCE", "imagenet-c")
    by_hand = np.mean([error(0.5) / ALEXNET[name] for name in FIFTEEN])
    caption = KINDS["imagenet-c"].one(study).caption
    assert f"; mCE {by_hand:.1f}; relative mCE " in caption and "Clean" in caption
