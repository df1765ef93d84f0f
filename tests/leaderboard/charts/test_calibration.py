"""Reliability diagrams as scikit-learn has them, and risks counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.calibration import calibration_curve

from benchmark.metrics.columns import classification_table
from leaderboard.charts import calibration
from leaderboard.charts.calibration import SERIES
from leaderboard.charts.chart import DATA
from leaderboard.charts.study import Study
from leaderboard.tables import read_entries
from tests.leaderboard.charts.tables import N, store_calibration
from tests.leaderboard.stores import store_result, store_table


def store_confidences(root: Path, n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Ten classes; right about as often as the square of what it is sure of."""
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.2, 1.0, n)
    right = rng.random(n) < confidence**2
    targets = rng.integers(0, 10, n)
    first = np.where(right, targets, (targets + 1) % 10)
    ranked = (first[:, None] + np.array([0, 2, 3, 4, 5])) % 10
    log_prob = np.where(right, np.log(confidence), np.log((1 - confidence) / 9 + 1e-9))
    ids = pa.array([f"{i:05d}" for i in range(n)])
    store_table(root, "m", classification_table(ids, targets, ranked, 10, confidence=confidence, log_prob=log_prob))
    return confidence, right


def test_the_reliability_diagram_is_scikit_learns(tmp_path: Path) -> None:
    confidence, right = store_confidences(tmp_path)
    study = Study(read_entries([tmp_path])[0])
    points = calibration.bins(study.table)
    accuracy, mean = calibration_curve(right, confidence.astype(np.float32), n_bins=15)
    assert {point["scaling"] for point in points} == {SERIES[""]}
    assert [point["x"] for point in points] == pytest.approx(100 * mean, abs=0.02)
    assert [point["y"] for point in points] == pytest.approx(100 * accuracy, abs=0.02)
    assert sum(point["n"] for point in points) == 2000
    assert all(point["from"] <= point["x"] <= point["to"] for point in points)
    assert all(point["low"] <= point["y"] <= point["high"] for point in points)
    chart = calibration.reliable(study)
    assert chart is not None and len(chart.spec["hconcat"]) == 1  # nothing was scaled


def test_predictions_without_probabilities_have_no_diagram(tmp_path: Path) -> None:
    store_result(tmp_path, "m", 0.5)
    study = Study(read_entries([tmp_path])[0])
    assert calibration.bins(study.table) == calibration.risks(study.table) == []
    assert calibration.reliable(study) is None


def test_before_and_after_scaling_have_diagrams_counts_and_risks(tmp_path: Path) -> None:
    study = store_calibration(tmp_path, "m", 0.7)
    chart = calibration.one(study)
    rows = chart.spec["datasets"][DATA]
    for prefix, scaling in SERIES.items():
        inside = [row for row in rows if row["part"] == "bin" and row["series"] == scaling]
        assert sum(row["n"] for row in inside) == N
        gap = sum(row["n"] * abs(row["y"] - row["x"]) for row in inside) / N  # the calibration error, from the picture
        assert gap == pytest.approx(study.figures["ece@ts" if prefix else "ece"].value, abs=0.02)
    table = study.table
    surest = np.argsort(-np.array(table["log_odds"]), kind="stable")
    wrong = (np.array(table["prediction"]) != np.array(table["target"]))[surest]
    for row in (row for row in rows if row["part"] == "risk" and row["series"] == SERIES[""]):
        first = round(N * row["x"] / 100)
        assert row["y"] == pytest.approx(100 * wrong[:first].mean(), abs=1e-3)
    assert f"Calibration error {study.figures['ece'].value:.1f}" in chart.caption


def test_several_models_carry_no_more_than_their_lines(tmp_path: Path) -> None:
    studies = [store_calibration(tmp_path, name, skill) for name, skill in (("a", 0.9), ("b", 0.5))]
    rows = calibration.several(studies).spec["datasets"][DATA]
    assert {row["series"] for row in rows} == {"a", "b"} and all("n" not in row for row in rows)
    assert {row["scaling"] for row in rows if row["part"] == "risk"} == {SERIES[""]}
