"""Paired tests against scipy and hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from benchmark.errors import ResultError
from benchmark.metrics.columns import classification_table, multilabel_table
from benchmark.metrics.significance import holm, mcnemar
from leaderboard.statistics import paired_difference


def table_of(hit: np.ndarray, confidence: np.ndarray | None = None, prefix: str = "s") -> pa.Table:
    """Ten classes; a hit predicts the target, a miss the class after it."""
    n = len(hit)
    targets = np.arange(n) % 10
    first = np.where(hit == 1, targets, (targets + 1) % 10)
    ranked = (first[:, None] + np.array([0, 2, 3, 4, 5])) % 10
    ids = pa.array([f"{prefix}{i:05d}" for i in range(n)])
    log_prob = None if confidence is None else np.where(hit == 1, np.log(confidence), np.log((1 - confidence) / 9))
    return classification_table(ids, targets, ranked, 10, confidence=confidence, log_prob=log_prob)


def hits(*groups: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Groups of (first right, second right, how many samples)."""
    first, second = (np.concatenate([np.full(group[2], group[side]) for group in groups]) for side in (0, 1))
    return first, second


def test_mcnemar_is_the_exact_binomial_test():
    """Two-sided: 2 * sum_{i<=5} C(20, i) / 2^20 = 2 * 21700 / 1048576 = 0.04139."""
    first, second = hits((1, 1, 100), (1, 0, 5), (0, 1, 15), (0, 0, 30))
    found = paired_difference(table_of(first), table_of(second), "top1")
    assert found.test == "mcnemar" and found.n == 150
    assert found.p_value == pytest.approx(2 * 21700 / 2**20)
    assert found.delta == pytest.approx(100 * 10 / 150)
    assert found.ci_low < found.delta < found.ci_high
    assert mcnemar(0, 0) == 1.0 and mcnemar(3, 3) == 1.0


def test_interval_of_a_difference_has_the_paired_width():
    rng = np.random.default_rng(0)
    first = (rng.random(2000) < 0.7).astype(int)
    second = np.where(rng.random(2000) < 0.1, 1 - first, first)
    found = paired_difference(table_of(first), table_of(second), "top1")
    error = 100 * np.std(second - first) / np.sqrt(2000)
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_bootstrap_p_value_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(1)
    hit = (rng.random(400) < 0.6).astype(int)
    first = np.clip(rng.uniform(0.3, 0.9, 400), 0.3, 0.9)
    second = np.clip(first + rng.normal(0.006, 0.08, 400), 0.2, 0.95)
    found = paired_difference(table_of(hit, first), table_of(hit, second), "nll", replicates=4000)
    loss = [-np.where(hit == 1, np.log(c), np.log((1 - c) / 9)) for c in (first, second)]
    expected = stats.ttest_rel(loss[1], loss[0])
    assert found.test == "bootstrap"
    assert found.delta == pytest.approx((loss[1] - loss[0]).mean(), abs=1e-6)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)
    interval = expected.confidence_interval()
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high), abs=2e-3)


def test_the_test_keeps_its_level_without_a_difference():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(150):
        first, second = ((rng.random(150) < 0.8).astype(int) for _ in range(2))
        tables = [table_of(hit) for hit in (first, second)]
        found.append(paired_difference(*tables, "mean_per_class", replicates=300).p_value)
    assert np.mean(np.array(found) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_a_worse_calibration_is_found():
    rng = np.random.default_rng(3)
    found_worse = 0
    for _ in range(8):
        confidence = rng.uniform(0.5, 0.95, 2000)
        hit = (rng.random(2000) < confidence).astype(int)
        worse = np.clip(confidence + 0.1, 0, 0.999)
        found = paired_difference(table_of(hit, confidence), table_of(hit, worse), "ece", replicates=200)
        found_worse += found.ci_low > 0
    assert found_worse == 8


def test_difference_of_mean_average_precision():
    rng = np.random.default_rng(4)
    targets = rng.random((300, 4)) < 0.3
    ids = pa.array([f"{i:03d}" for i in range(300)])
    good, bad = (multilabel_table(ids, targets, targets + rng.normal(size=(300, 4)) * s) for s in (0.5, 1.5))
    found = paired_difference(good, bad, "mAP")
    assert found.delta < 0 and found.ci_high < 0 and found.p_value < 0.001
    same = paired_difference(good, good, "mAP")
    assert (same.delta, same.p_value) == (0.0, 1.0)


def test_only_the_same_samples_are_compared():
    hit = np.ones(30, int)
    with pytest.raises(ResultError, match="same samples"):
        paired_difference(table_of(hit), table_of(hit, prefix="t"), "top1")
    with pytest.raises(ResultError, match="top1"):
        paired_difference(table_of(hit), table_of(hit), "top_1")


def test_holm_by_hand():
    """Holm 1979 on four tests: .01*4, .02*3, .03*2, .04*1, made monotone."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
