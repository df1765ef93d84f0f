"""Two runs that share no seed are compared for what they are: by sample, with the error of their draws, or unpaired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from benchmark.errors import ResultError
from benchmark.metrics.columns import classification_table, episodes_table, join
from leaderboard.gate.compare import run_check
from leaderboard.gate.policy import Policy
from leaderboard.gate.seeds import Seeds, choose_seeds
from leaderboard.gate.verdict import CellVerdict
from leaderboard.statistics import pooled_difference
from tests.leaderboard.stores import store_hits, store_result, store_table


def only(folder: Path, margin: float = 0.5) -> CellVerdict:
    (cell,) = run_check(str(folder / "a"), str(folder / "b"), Policy(margin=margin)).cells
    return cell


def draws_table(chances: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """Two classes; sample i is right in each of (D,) draws with the chance (D, N)."""
    n = chances.shape[1]
    ids, targets = pa.array([f"{i:05d}" for i in range(n)]), np.arange(n) % 2
    tables = []
    for draw, chance in enumerate(chances):
        first = np.where(rng.random(n) < chance, targets, 1 - targets)
        tables.append(classification_table(ids, targets, np.stack([first, 1 - first], axis=1), 2, "1shot", draw))
    return join(tables)


def episodes(rng: np.random.Generator, skill: float, count: int = 600) -> pa.Table:
    """Five classes of 15 queries, other images in every episode; episodes differ in how hard they are."""
    chance = np.clip(rng.normal(skill, 0.08, count), 0, 1)[:, None]
    targets = np.tile(np.repeat(np.arange(5), 15), (count, 1))
    right = rng.random(targets.shape) < chance
    ids = pa.array([f"{number:06d}" for number in rng.permutation(count * 75)])
    predictions = np.where(right, targets, (targets + 1) % 5)
    numbers = np.repeat(np.arange(count), 75)
    return episodes_table(numbers, ids, targets.ravel(), predictions.ravel(), 5, "5way-1shot")


def test_shared_seeds_are_compared_and_the_others_named() -> None:
    assert choose_seeds({0, 2, 1}, {2, 0, 5}) == Seeds((0, 2), (0, 2), (1, 5))
    assert choose_seeds({1, 0}, {3}) == Seeds((0, 1), (3,))


def test_equal_predictions_under_other_seeds_are_equal(tmp_path: Path) -> None:
    store_result(tmp_path / "a", "m", 0.8, seed=0, n=2000)
    store_result(tmp_path / "b", "m", 0.8, seed=7, n=2000)
    cell = only(tmp_path)
    assert (cell.verdict, cell.outcome) == ("equal", "pass")
    assert cell.note == "seed 0 against 7: paired by sample; what a seed alone changes is not in the interval"


def test_a_loss_is_found_across_seeds_by_an_exact_test(tmp_path: Path) -> None:
    right = np.random.default_rng(0).random(1000) < 0.8
    worse = right & ~(np.arange(1000) % 10 == 0)
    store_hits(tmp_path / "a", "m", right, seed=0)
    store_hits(tmp_path / "b", "m", worse, seed=1)
    cell = only(tmp_path)
    lost = int((right & ~worse).sum())
    assert cell.verdict == "regressed" and cell.difference is not None
    assert cell.difference.p_value == pytest.approx(stats.binomtest(lost, lost, 0.5).pvalue)
    assert cell.difference.delta == pytest.approx(-100 * lost / 1000)


def test_seeds_of_one_side_only_are_said_to_be_left_out(tmp_path: Path) -> None:
    for seed in (0, 1):
        store_result(tmp_path / "a", "m", 0.8, seed=seed, n=500)
    store_result(tmp_path / "b", "m", 0.8, seed=0, n=500)
    cell = only(tmp_path)
    assert cell.verdict == "equal" and cell.note == "seed 1 on one side only, left out"


def test_seeds_are_pooled_on_each_side(tmp_path: Path) -> None:
    for seed, accuracy in ((0, 0.80), (1, 0.82)):
        store_result(tmp_path / "a", "m", accuracy, seed=seed, n=1000)
    for seed, accuracy in ((2, 0.80), (3, 0.81), (4, 0.82)):
        store_result(tmp_path / "b", "m", accuracy, seed=seed, n=1000)
    cell = only(tmp_path)
    assert (cell.baseline, cell.candidate) == pytest.approx((81.0, 81.0))
    assert cell.difference is not None and cell.difference.n == 1000
    # Student's two-sample standard error with a pooled variance, by scipy: t = difference of means / error
    shifted = stats.ttest_ind([80.0, 82.0], [90.0, 91.0, 92.0])
    assert cell.difference.draw_error == pytest.approx(10.0 / abs(shifted.statistic))
    assert "draws' own error of 1.05 included" in cell.note


def test_draws_alone_raise_no_false_alarm() -> None:
    """One model, five draws of labels a side that move the accuracy by four points: what low-shot runs look like."""
    rng = np.random.default_rng(3)
    skill = rng.beta(4, 2, 600)
    with_error: list[tuple[bool, bool]] = []
    without: list[tuple[bool, bool]] = []
    for _ in range(100):
        tables = [draws_table(np.clip(skill + rng.normal(0, 0.04, (5, 1)), 0, 1), rng) for _ in range(2)]
        for found, same in ((with_error, False), (without, True)):
            one = pooled_difference([tables[0]], [tables[1]], "top1@1shot", replicates=200, same_seeds=same)
            found.append((one.p_value < 0.05, not one.ci_low <= 0 <= one.ci_high))
    limit = 0.05 + 2 * (0.05 * 0.95 / 100) ** 0.5
    assert np.mean(with_error, axis=0).max() <= limit
    assert np.mean(without, axis=0).min() > 0.2, "without the draws' error the test would have no teeth"


def test_a_large_loss_is_still_seen_through_the_draws() -> None:
    rng = np.random.default_rng(4)
    skill = rng.beta(4, 2, 1000)
    found = []
    for _ in range(20):
        before, after = (
            draws_table(np.clip(skill + rng.normal(shift, 0.02, (5, 1)), 0, 1), rng) for shift in (0, -0.1)
        )
        one = pooled_difference([before], [after], "top1@1shot", replicates=500, same_seeds=False)
        found.append(one.p_value < 0.05 and one.ci_high < 0)
    assert sum(found) >= 18


def test_other_episodes_are_compared_unpaired_as_welch_would() -> None:
    rng = np.random.default_rng(5)
    before, after = episodes(rng, 0.70), episodes(rng, 0.69)
    found = pooled_difference([before], [after], "top1@5way-1shot", replicates=4000, same_seeds=False)
    values = [
        100 * (table["target"].to_numpy() == table["prediction"].to_numpy()).reshape(600, 75).mean(axis=1)
        for table in (before, after)
    ]
    welch = stats.ttest_ind(values[1], values[0], equal_var=False)
    interval = welch.confidence_interval()
    assert (found.test, found.n) == ("unpaired", 600)
    assert found.delta == pytest.approx(values[1].mean() - values[0].mean())
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high), abs=0.12)
    assert found.p_value == pytest.approx(welch.pvalue, abs=0.03)


def test_episodes_of_several_shared_seeds_are_paired_one_after_another() -> None:
    rng = np.random.default_rng(6)
    tables = [episodes(np.random.default_rng(seed), 0.7, 200) for seed in (0, 1)]
    worse = []
    for table in tables:
        changed = np.where(
            rng.random(table.num_rows) < 0.05,
            (table["target"].to_numpy() + 2) % 5,
            table["prediction"].to_numpy(),
        )
        place = table.column_names.index("prediction")
        worse.append(table.set_column(place, "prediction", pa.array(changed.astype(np.int32))))
    found = pooled_difference(tables, worse, "top1@5way-1shot")
    alone = [pooled_difference([a], [b], "top1@5way-1shot") for a, b in zip(tables, worse, strict=True)]
    assert (found.test, found.n) == ("bootstrap", 400)
    assert found.delta == pytest.approx(np.mean([one.delta for one in alone]))
    width = [one.ci_high - one.ci_low for one in (found, *alone)]
    assert width[0] == pytest.approx(np.mean(width[1:]) / np.sqrt(2), rel=0.15)


def test_other_episodes_under_one_seed_are_an_error() -> None:
    tables = [episodes(np.random.default_rng(seed), 0.7, 50) for seed in (0, 1)]
    with pytest.raises(ResultError, match="same samples"):
        pooled_difference([tables[0]], [tables[1]], "top1@5way-1shot")


def test_other_samples_are_an_error_whatever_the_seeds(tmp_path: Path) -> None:
    store_result(tmp_path / "a", "m", 0.8, seed=0, n=500)
    store_result(tmp_path / "b", "m", 0.8, seed=1, n=400)
    cell = only(tmp_path)
    assert (cell.verdict, cell.outcome) == ("not comparable", "fail") and "500 and 400 samples" in cell.note


def test_few_shot_runs_of_other_seeds_pass_the_gate(tmp_path: Path) -> None:
    for side, seed in (("a", 0), ("b", 1)):
        table = episodes(np.random.default_rng(seed), 0.7)
        store_table(tmp_path / side, "m", table, "episodes", "top1@5way-1shot", seed=seed)
    cell = only(tmp_path, margin=2.0)
    assert cell.outcome == "pass" and cell.note == "seed 0 against 1: other episodes, compared unpaired"
