"""Pictures hold the figures that they claim to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leaderboard.ranking import Scores, rank_test, ranks
from leaderboard.site import plots
from leaderboard.site.board import make_board
from leaderboard.site.build import build_site
from leaderboard.site.details import column_chart, detail_charts
from leaderboard.site.payload import common_place
from leaderboard.tables import Entry, read_entries
from tests.leaderboard.charts.tables import store_corruptions
from tests.leaderboard.stores import store_result
from tests.results.examples import example_result


def data(spec: plots.Spec) -> list[dict[str, Any]]:
    return spec["datasets"][plots.DATA]


def with_details(**details: Any) -> Entry:
    return Entry(Path("runs"), example_result(details=details))


def test_what_a_result_keeps_is_drawn() -> None:
    found = detail_charts(
        [
            with_details(
                curve=[
                    {"lambda": 1.0, "score": 50.0},
                    {"lambda": 10.0, "score": None},
                    {"lambda": 100.0, "score": 60.0},
                ],
                loss_curve={"step": [1, 2, 3], "loss": [2.0, 1.0, 0.5]},
            )
        ]
    )
    assert [plot.title.split(":")[0] for plot in found] == ["Selection", "Training"]
    assert data(found[0].spec) == [{"x": 1.0, "y": 50.0}, {"x": 100.0, "y": 60.0}]
    assert data(found[1].spec)[-1] == {"x": 3, "y": 0.5}


@pytest.mark.parametrize(
    "details",
    [
        {"curve": "x"},
        {"curve": [1, None]},
        {"curve": [{"lambda": -1, "score": 1.0}, {"lambda": 0, "score": 1.0}]},
        {"loss_curve": {"step": [1], "loss": [1, 2]}},
        {"loss_curve": [1]},
    ],
)
def test_details_of_another_kind_are_passed_by(details: dict[str, Any]) -> None:
    assert detail_charts([with_details(**details)]) == []


def test_a_robustness_result_is_drawn_on_the_pages_of_its_model_and_its_task(tmp_path: Path) -> None:
    for model, skill in (("a", 0.9), ("b", 0.6)):
        store_corruptions(tmp_path / "runs", model, skill)
    store_result(tmp_path / "runs", "a", 0.5)
    entries = read_entries([tmp_path / "runs"])
    (chart,) = detail_charts([entry for entry in entries if entry.result.model.name == "a"])
    assert chart.title == "Error under corruptions: photos, robustness, robust/corruptions" and chart.fixed
    assert {row["series"] for row in data(chart.spec)} == {"a"}
    board = make_board(entries, "t")
    charts = {column.example.task: column_chart(column) for column in board.columns}
    assert charts["nmc"] is None and charts["robustness"] is not None
    assert {row["series"] for row in data(charts["robustness"].spec)} == {"a", "b"}
    site = build_site(entries, tmp_path / "site")
    page = (site.folder / "models/a.html").read_text()
    assert "Error under corruptions" in page and "gaussian_noise" in page and len(page) < 60_000
    (task,) = (site.folder / "tasks").glob("*mean_error*.html")
    assert "severity 0 is the images as they are" in task.read_text()


def test_pages_of_figures_whose_predictions_are_elsewhere_have_no_chart(tmp_path: Path) -> None:
    for model, skill in (("a", 0.9), ("b", 0.6)):
        store_corruptions(tmp_path, model, skill)
    for path in tmp_path.glob("predictions/**/*.parquet"):
        path.unlink()
    entries = read_entries([tmp_path])
    assert detail_charts(entries) == []
    assert column_chart(make_board(entries, "t").columns[0]) is None


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
