"""All pairs at once give what each pair alone gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from benchmark.metrics.columns import episodes_table, segmentation_table
from benchmark.metrics.significance import mcnemar, mcnemar_of_many
from benchmark.results.store import CellKey, ResultStore, read_predictions
from leaderboard.pairwise import clear_winner, compare_all
from leaderboard.statistics import estimate_of, paired_difference
from leaderboard.tables import read_entries, wide_columns
from tests.leaderboard.stores import store_hits, store_result, store_table


def test_many_exact_tests_are_scipys() -> None:
    lost, gained = np.array([[0, 3, 40], [7, 0, 1]]), np.array([[0, 12, 41], [7, 9, 0]])
    found = mcnemar_of_many(lost, gained)
    for place in np.ndindex(2, 3):
        b, c = int(lost[place]), int(gained[place])
        wanted = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
        assert found[place] == pytest.approx(wanted, rel=1e-9) == mcnemar(b, c)


def test_all_pairs_equal_the_paired_comparison_of_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    hard = rng.random(800)
    for name, skill in (("a", 0.7), ("b", 0.66), ("c", 0.4), ("d", 0.69)):
        store_hits(tmp_path, name, (hard + rng.normal(0, 0.2, 800)) < skill)
    (column,) = wide_columns(read_entries([tmp_path]))
    pairs = compare_all(column)
    assert list(pairs.models) == sorted(pairs.models, key=lambda m: -column.values(m)[0].value)
    tables = [read_predictions(tmp_path, column.cells[model][0].result) for model in pairs.models]
    for i, row in enumerate(tables):
        for j, other in enumerate(tables):
            alone = paired_difference(other, row, "top1")
            assert pairs.delta[i, j] == pytest.approx(alone.delta)
            assert pairs.p_value[i, j] == pytest.approx(alone.p_value, rel=1e-9)
            if i != j:
                assert 2 * pairs.half[i, j] == pytest.approx(alone.ci_high - alone.ci_low, rel=0.08)  # a bootstrap


def test_episodes_are_compared_by_a_paired_z_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    episodes, queries = 300, 15
    luck = rng.normal(0, 0.1, episodes)
    accuracies = {}
    for name, skill in (("a", 0.62), ("b", 0.6)):
        hit = rng.random((episodes, queries)) < np.clip(skill + luck, 0, 1)[:, None]
        accuracies[name] = 100 * hit.mean(axis=1)
        targets = np.tile(np.arange(queries) % 5, episodes)
        ids = pa.array([f"q{i}" for i in range(episodes * queries)])
        table = episodes_table(
            np.repeat(np.arange(episodes), queries),
            ids,
            targets,
            np.where(hit.ravel(), targets, (targets + 1) % 5),
            5,
            "5way-1shot",
        )
        store_table(tmp_path, name, table, "episodes", "top1@5way-1shot")
    (column,) = wide_columns(read_entries([tmp_path]))
    pairs = compare_all(column)
    difference = accuracies["a"] - accuracies["b"]
    z = difference.mean() / (difference.std() / np.sqrt(episodes))
    place = pairs.models.index("a"), pairs.models.index("b")
    assert pairs.p_value[place] == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_what_cannot_be_paired_is_listed_and_beaten_only_by_a_clear_interval(tmp_path: Path) -> None:
    store_result(tmp_path, "best", 0.95, n=1000)
    store_result(tmp_path, "fair", 0.60, n=1000)
    store_result(tmp_path, "gone", 0.50, n=1000)
    key = CellKey("gone", "nmc", "pets", "p/q", 0)
    ResultStore(tmp_path).predictions_path(key).unlink()
    (column,) = wide_columns(read_entries([tmp_path]))
    pairs = compare_all(column)
    assert pairs.models == ("best", "fair") and pairs.untested == ("gone",)
    assert clear_winner(column, pairs) == "best"
    assert compare_all(column, ["fair"]).untested == ("best", "gone")
    store_result(tmp_path, "gone", 0.94, n=1000)
    ResultStore(tmp_path).predictions_path(key).unlink()
    assert clear_winner(wide_columns(read_entries([tmp_path]))[0]) is None  # its interval overlaps the best one's


def test_ratios_of_sums_are_compared_by_what_each_image_adds(tmp_path: Path) -> None:
    """mIoU: the influence of an image is the derivative of the figure in its weight, and the test agrees with the
    bootstrap of the gate."""
    rng = np.random.default_rng(6)
    labelled = rng.multinomial(400, [0.5, 0.3, 0.2], 150)
    tables = {}
    for name, skill in (("a", 0.62), ("b", 0.58)):
        hit = rng.binomial(labelled, np.clip(skill + rng.normal(0, 0.1, (150, 1)), 0, 1))
        missed = labelled - hit
        predicted = hit + np.roll(missed, 1, axis=1)
        tables[name] = segmentation_table(pa.array([f"i{i:03d}" for i in range(150)]), hit, predicted, labelled)
        store_table(tmp_path, name, tables[name], "segmentation", "mIoU")
    estimate = estimate_of(tables["a"], "mIoU", None)
    linear = estimate.linear()
    assert linear is not None and linear.mean() == pytest.approx(estimate.value)
    weights, step = np.full(150, 1 / 150), 1e-6
    for image in (0, 77):
        moved = weights * (1 - step)
        moved[image] += step
        change = estimate.combine((moved @ estimate.contributions)[None])[0] - estimate.value
        assert change / step == pytest.approx(linear[image] - estimate.value, rel=1e-4)
    (column,) = wide_columns(read_entries([tmp_path]))
    pairs = compare_all(column)
    assert set(pairs.models) == {"a", "b"} and not pairs.untested
    i, j = pairs.models.index("a"), pairs.models.index("b")
    alone = paired_difference(tables["b"], tables["a"], "mIoU")
    assert pairs.delta[i, j] == pytest.approx(alone.delta)
    assert 2 * pairs.half[i, j] == pytest.approx(alone.ci_high - alone.ci_low, rel=0.1)


def test_models_of_other_seeds_are_not_paired(tmp_path: Path) -> None:
    store_result(tmp_path, "a", 0.9)
    store_result(tmp_path, "b", 0.8, seed=1)
    store_result(tmp_path, "c", 0.7)
    pairs = compare_all(wide_columns(read_entries([tmp_path]))[0])
    assert pairs.models == ("a", "c") and pairs.untested == ("b",)
