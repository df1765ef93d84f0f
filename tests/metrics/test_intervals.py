"""Intervals against published numbers, independent formulas and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmark.errors import ResultError
from benchmark.metrics import intervals
from benchmark.metrics.classification import calibration_gaps


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (81, 263), (263, 263), (49_000, 50_000)])
def test_wilson_is_scipys(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    per_sample = np.repeat([1.0, 0.0], [hits, n - hits])
    assert intervals.of_proportion(per_sample) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_group_is_wilson_and_many_right_groups_keep_a_width():
    hits = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    assert intervals.of_mean_over_groups(hits, np.zeros(5, int)) == pytest.approx(intervals.of_proportion(hits))
    low, high = intervals.of_mean_over_groups(np.ones(60), np.arange(60) % 3)
    assert high == 1.0 and 0.9 < low < 1.0


def test_mean_over_groups_tends_to_the_analytic_variance():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), [4000, 2000, 3000, 8000])
    hits = (rng.random(len(group)) < np.array([0.5, 0.7, 0.6, 0.4])[group]).astype(float)
    share = np.array([hits[group == g].mean() for g in range(4)])
    variance = sum(p * (1 - p) / (group == g).sum() for g, p in enumerate(share)) / 16
    expected = share.mean() + np.array([-1.96, 1.96]) * np.sqrt(variance)
    assert intervals.of_mean_over_groups(hits, group) == pytest.approx(tuple(expected), abs=2e-4)


def test_coverage_of_shares_over_several_draws():
    """Samples of differing difficulty under 5 draws: the interval is over samples, not over samples times draws."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(500):
        ease = rng.beta(0.6, 0.3, size=150)
        covered += _holds(intervals.of_proportion((rng.random((5, 150)) < ease).mean(axis=0), 5), 0.6 / 0.9)
    assert 0.92 < covered / 500 < 0.98


def test_coverage_of_the_mean_over_groups():
    rng = np.random.default_rng(2)
    truth, group = np.array([0.95, 0.6, 0.8, 0.99]), np.repeat(np.arange(4), 25)
    hits = (rng.random((500, 100)) < truth[group]).astype(float)
    covered = sum(_holds(intervals.of_mean_over_groups(row, group), truth.mean()) for row in hits)
    assert 0.92 < covered / 500 < 0.99


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.15])
def test_coverage_of_the_calibration_error(shift):
    """Also where the truth is zero and the figure, being biased upwards, never is."""
    rng = np.random.default_rng(3)

    def world(n: int) -> tuple[np.ndarray, np.ndarray]:
        confidence = np.clip(1 / (1 + np.exp(-rng.normal(1, 1.2, n))), 0.1, 1)
        return confidence, (1 - shift) * confidence

    confidence, chance = world(1_000_000)
    truth = np.abs(calibration_gaps(confidence, chance).mean(axis=0)).sum()
    covered = 0
    for _ in range(60):
        confidence, chance = world(400)
        gaps = calibration_gaps(confidence, (rng.random(400) < chance).astype(float))
        low, high = intervals.of_magnitudes(gaps)
        covered += _holds((low, high), truth)
        assert low <= np.abs(gaps.mean(axis=0)).sum() <= high
    assert covered / 60 > 0.86  # three binomial standard errors below 95%


def test_mean_is_the_students_normal_limit():
    values = np.random.default_rng(4).exponential(size=500)
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert intervals.of_mean(values) == pytest.approx(expected)
    with pytest.raises(ResultError, match="at least 2"):
        intervals.of_mean(values[:1])


def test_bootstrap_has_the_spread_of_the_mean_and_is_deterministic():
    values = np.random.default_rng(5).normal(size=(300, 2))
    means = intervals.resampled_means(values, 4000, seed=1)
    assert means.std(axis=0) == pytest.approx(values.std(axis=0) / np.sqrt(300), rel=0.05)
    assert means.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.005)
    assert np.array_equal(means, intervals.resampled_means(values, 4000, seed=1))


def test_bootstrap_of_few_values_has_the_spread_of_the_mean():
    hits = (np.random.default_rng(5).random((400, 1)) < 0.7) * 100.0
    means = intervals.resampled_means(hits, 4000, seed=1)
    assert means.shape == (4000, 1)
    assert means.std() == pytest.approx(hits.std() / 20, rel=0.05)
    assert means.mean() == pytest.approx(hits.mean(), abs=0.15)


def _holds(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]
