"""Aggregates worked by hand, and rank tests against scipy's and the published tables."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from benchmark.errors import ResultError
from benchmark.results.store import CellKey, ResultStore
from leaderboard.ranking import (
    AGGREGATES,
    Scores,
    aggregate,
    correlations,
    pareto,
    rank_test,
    rankable,
    ranks,
    scores_of,
)
from leaderboard.standing import render
from leaderboard.tables import read_entries, wide_columns
from tests.leaderboard.stores import store_result

HAND = Scores(("a", "b", "c"), ("x", "y"), np.array([[90.0, 50.0], [80.0, 50.0], [70.0, 20.0]]))


@pytest.mark.parametrize(("name", "wanted"), [
    ("mean rank", [1.25, 1.75, 3.0]),
    ("Borda %", [(100 + 75) / 2, (50 + 75) / 2, 0.0]),
    ("win rate %", [75.0, 25.0, 0.0]),
    ("mean normalised", [100.0, 75.0, 0.0]),
    ("mean z-score", [(1 + 10 / 300**0.5) / 2, (0 + 10 / 300**0.5) / 2, (-1 - 20 / 300**0.5) / 2]),
])  # fmt: skip
def test_aggregates_by_hand(name: str, wanted: list[float]) -> None:
    found = aggregate(HAND, name)
    np.testing.assert_allclose(found.values, wanted)
    assert (found.low <= found.values).all() and (found.values <= found.high).all()


def test_an_interval_over_columns_covers_what_the_columns_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for trial in range(200):
        values = rng.standard_normal((4, 30)) + np.array([[0.6], [0.3], [0.0], [0.0]])
        found = aggregate(Scores(tuple("abcd"), tuple(map(str, range(30))), values), "mean rank", 500, trial)
        covered.append((found.low[3] + found.low[2]) / 2 <= 2.9 <= (found.high[3] + found.high[2]) / 2)
    assert np.mean(covered) > 0.9


def test_a_single_column_has_no_interval() -> None:
    found = aggregate(Scores(("a", "b"), ("x",), np.array([[2.0], [1.0]])), "mean rank")
    assert found.values.tolist() == [1.0, 2.0] and np.isnan(found.low).all()


def test_the_rank_test_is_friedmans_and_nemenyis() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((5, 12)) + np.arange(5)[::-1, None]
    found = rank_test(Scores(tuple("abcde"), tuple(map(str, range(12))), values))
    assert found is not None
    assert found.p_value == pytest.approx(stats.friedmanchisquare(*values).pvalue)
    # Demsar 2006, table 5: q is 2.728 for five models at 5%.
    assert found.critical_difference == pytest.approx(2.728 * (5 * 6 / (6 * 12)) ** 0.5, rel=1e-3)
    mean = ranks(values).mean(axis=1)
    for group in found.groups:
        inside = [mean["abcde".index(model)] for model in group]
        assert max(inside) - min(inside) < found.critical_difference
    assert {model for group in found.groups for model in group} == set("abcde")
    far = abs(mean[0] - mean[4])
    assert (far < found.critical_difference) == any({"a", "e"} <= set(group) for group in found.groups)


def test_equal_models_do_not_differ_and_two_are_too_few() -> None:
    same = rank_test(Scores(tuple("abc"), tuple("wxyz"), np.ones((3, 4))))
    assert same is not None and same.p_value == 1.0 and same.groups == (("a", "b", "c"),)
    assert rank_test(Scores(("a", "b"), ("x", "y"), np.ones((2, 2)))) is None


def test_the_front_of_cost_and_gain() -> None:
    assert pareto([1, 2, 3, 2], [10, 20, 15, 20]) == [True, True, False, True]
    assert pareto([1, 1], [10, 11]) == [False, True]


def test_columns_that_agree_correlate() -> None:
    values = np.array([[3.0, 1.0, 5.0], [2.0, 2.0, 4.0], [1.0, 3.0, 3.0]])
    found = correlations(Scores(tuple("abc"), tuple("xyz"), values))
    np.testing.assert_allclose(found, [[1, -1, 1], [-1, 1, -1], [1, -1, 1]])


def test_the_standing_says_who_is_told_apart_and_what_was_left_out(tmp_path: Path) -> None:
    for dataset in "abcdefgh":
        for model, accuracy in (("good", 0.9), ("fair", 0.6), ("poor", 0.4)):
            store_result(tmp_path, model, accuracy, dataset=dataset)
    store_result(tmp_path, "good", 0.5, dataset="cars")
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(render(read_entries([tmp_path])))
    text = console.export_text()
    assert text.index("good") < text.index("fair") < text.index("poor")
    assert "over 8 columns" in text and "lacks them: cars/nmc/top1" in text
    assert "1.00 ±0.00" in text and "+1.00" in text
    assert "not told apart: good = fair; fair = poor" in text  # 8 columns: the difference has to exceed 1.17


def test_only_columns_that_every_model_has_take_part(tmp_path: Path) -> None:
    for model, accuracy in (("good", 0.9), ("fair", 0.6)):
        store_result(tmp_path, model, accuracy)
    store_result(tmp_path, "good", 0.5, dataset="cars")
    columns = wide_columns(read_entries([tmp_path]))
    found = scores_of(columns, ["good", "fair"])
    assert found.columns == ("pets/nmc/top1",) and found.left_out == ("cars/nmc/top1",)
    assert found.values.tolist() == [[90.0], [60.0]]
    assert set(AGGREGATES) >= {"mean rank", "Borda %"}
    with pytest.raises(ResultError, match="two models"):
        scores_of(columns, ["good"])


def test_where_nobody_has_everything_the_most_complete_block_is_ranked(tmp_path: Path) -> None:
    for dataset in ("a", "b", "c"):
        for model, accuracy in (("good", 0.9), ("fair", 0.6), ("poor", 0.4)):
            if (model, dataset) not in {("poor", "a"), ("poor", "b"), ("good", "c")}:
                store_result(tmp_path, model, accuracy, dataset=dataset)
    columns = wide_columns(read_entries([tmp_path]))
    assert rankable(columns, ["good", "fair", "poor"]) == ["good", "fair"]  # a and b; c would rank fair and poor
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(render(read_entries([tmp_path])))
    text = console.export_text()
    assert "not ranked, because they lack too much: poor" in text and "lacks them: c/nmc/top1" in text


def test_kinds_of_transfer_are_ranked_apart_and_together(tmp_path: Path) -> None:
    for model, accuracy in (("good", 0.9), ("fair", 0.6)):
        for dataset in "abc":
            result = store_result(tmp_path, model, accuracy, dataset=dataset)
            other = result.model_copy(update={"task": "fewshot"})
            ResultStore(tmp_path).write(CellKey(model, "fewshot", dataset, "p/q", 0), other)
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(render(read_entries([tmp_path])))
    text = console.export_text()
    assert "over 6 columns" in text and text.count("over 3 columns") == 2
    assert "frozen features" in text and "few labels" in text
