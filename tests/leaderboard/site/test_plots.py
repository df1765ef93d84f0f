"""Pictures hold the figures that they claim to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.calibration import calibration_curve

from benchmark.metrics.columns import classification_table
from leaderboard.ranking import Scores, rank_test, ranks
from leaderboard.site import plots
from leaderboard.site.board import make_board
from leaderboard.site.build import build_site
from leaderboard.site.details import detail_plots
from leaderboard.site.payload import common_place
from leaderboard.site.reliability import SERIES, reliability_points
from leaderboard.tables import Entry, read_entries
from tests.leaderboard.stores import store_result, store_table
from tests.results.examples import example_result


def data(spec: plots.Spec) -> list[dict[str, Any]]:
    return spec["datasets"][plots.DATA]


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
    points = reliability_points(read_entries([tmp_path])[0])
    accuracy, mean = calibration_curve(right, confidence.astype(np.float32), n_bins=15)
    assert {point["series"] for point in points} == {SERIES[""]}
    assert [point["x"] for point in points] == pytest.approx(100 * mean, abs=0.02)
    assert [point["y"] for point in points] == pytest.approx(100 * accuracy, abs=0.02)
    assert sum(point["n"] for point in points) == 2000


def test_predictions_without_probabilities_have_no_diagram(tmp_path: Path) -> None:
    store_result(tmp_path, "m", 0.5)
    assert reliability_points(read_entries([tmp_path])[0]) == []


def with_details(**details: Any) -> Entry:
    return Entry(Path("runs"), example_result(details=details))


def test_what_a_result_keeps_is_drawn() -> None:
    found = detail_plots(
        [
            with_details(
                curve=[
                    {"lambda": 1.0, "score": 50.0},
                    {"lambda": 10.0, "score": None},
                    {"lambda": 100.0, "score": 60.0},
                ],
                loss_curve={"step": [1, 2, 3], "loss": [2.0, 1.0, 0.5]},
                corruption_errors={"fog": [10.0, 20.0], "snow": [30.0, 40.0]},
            )
        ]
    )
    assert [plot.title.split(":")[0] for plot in found] == ["Selection", "Training", "Corruptions"]
    assert data(found[0].spec) == [{"x": 1.0, "y": 50.0}, {"x": 100.0, "y": 60.0}]
    assert data(found[1].spec)[-1] == {"x": 3, "y": 0.5}
    assert {"x": "2", "y": "snow", "value": 40.0} in data(found[2].spec)


@pytest.mark.parametrize(
    "details",
    [
        {"curve": "x"},
        {"curve": [1, None]},
        {"curve": [{"lambda": -1, "score": 1.0}, {"lambda": 0, "score": 1.0}]},
        {"loss_curve": {"step": [1], "loss": [1, 2]}},
        {"loss_curve": [1]},
        {"corruption_errors": {"fog": "x"}},
        {"corruption_errors": {"fog": [None, "<b>"]}},
    ],
)
def test_details_of_another_kind_are_passed_by(details: dict[str, Any]) -> None:
    assert detail_plots([with_details(**details)]) == []


def test_the_critical_difference_diagram_shows_ranks_and_groups() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((5, 12)) + np.arange(5)[::-1, None]
    scores = Scores(tuple("abcde"), tuple(map(str, range(12))), values)
    test = rank_test(scores)
    assert test is not None
    points = data(plots.critical_difference(scores, test))
    mean = dict(zip("abcde", ranks(values).mean(axis=1), strict=True))
    labels = [point["text"] for point in points if point["part"] in ("left", "right")]
    assert sorted(labels) == sorted(
        f"{m}  {mean[m]:.2f}" if f"{m}  {mean[m]:.2f}" in labels else f"{mean[m]:.2f}  {m}" for m in "abcde"
    )
    bars = [(point["x"], point["x2"]) for point in points if point["part"] == "bar"]
    wanted = [sorted(mean[m] for m in group) for group in test.groups if len(group) > 1]
    assert bars == [(pytest.approx(ends[0]), pytest.approx(ends[-1])) for ends in wanted]
    (scale,) = [point for point in points if point["part"] == "scale"]
    length = min(test.critical_difference, max(mean.values()) - min(mean.values()))
    assert scale["x2"] - scale["x"] == pytest.approx(length)


def test_the_front_is_of_least_cost_and_most_gain() -> None:
    points = [("a", "x", 1.0, 50.0), ("b", "x", 2.0, 40.0), ("c", "x", 4.0, 60.0)]
    assert [row["front"] for row in data(plots.front(points, "parameters", "score"))] == [True, False, True]
    assert [row["front"] for row in data(plots.front(points, "images/s", "score"))] == [False, False, True]


def test_rates_of_other_machines_are_not_compared(tmp_path: Path) -> None:
    entries = []
    for name, hardware, rate in (("a", "H100", 900.0), ("b", "laptop", 30.0), ("c", "laptop", 60.0)):
        result = store_result(tmp_path, name, 0.5)
        run = result.provenance.model_copy(update={"hardware": hardware, "images_per_s": rate})
        entries.append(Entry(tmp_path, result.model_copy(update={"provenance": run})))
    board = make_board(entries, "t")
    place = common_place(board)
    assert place == "laptop, cpu, fp32"
    assert [value for value, _ in plots.gains(board, "rate", place)].count(None) == 1
    assert common_place(make_board(entries[:2], "t")) is None


def test_a_link_is_followed_only_to_a_page(tmp_path: Path) -> None:
    entries = []
    for name, link in (("good", "https://example.org/a?b=1&c=2"), ("bad", "javascript:alert(1)")):
        result = store_result(tmp_path / "runs", name, 0.5)
        model = result.model.model_copy(update={"link": link})
        entries.append(Entry(tmp_path / "runs", result.model_copy(update={"model": model})))
    site = build_site(entries, tmp_path / "site")
    good, bad = ((site.folder / f"models/{name}.html").read_text() for name in ("good", "bad"))
    assert '<a href="https://example.org/a?b=1&amp;c=2"' in good
    assert "javascript:alert(1)" in bad and 'href="javascript' not in bad
