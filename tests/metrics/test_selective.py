"""Selective prediction against plain loops, orders drawn at random, and what leaving an image out changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from benchmark.metrics import selective
from benchmark.metrics.estimate import Share
from benchmark.metrics.selective import RiskCoverage, risk_coverage


def answers(n: int = 400, rate: float = 0.2, skill: float = 1.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and errors that have lower ones by `skill` standard deviations."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < rate
    return rng.normal(size=n) - skill * wrong, wrong


def risks(score: np.ndarray, wrong: np.ndarray) -> list[float]:
    """The share of errors among the surest 1, 2, ... images, all scores being different."""
    found, errors = [], 0
    for place, image in enumerate(sorted(range(len(score)), key=lambda index: -score[index]), 1):
        errors += int(wrong[image])
        found.append(errors / place)
    return found


def test_the_area_of_five_images_by_hand() -> None:
    curve = risk_coverage(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([0, 1, 0, 0, 1], bool))
    assert selective.area(curve).value == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    assert curve.optimum == pytest.approx((1 / 4 + 2 / 5) / 5)  # right, right, right, wrong, wrong
    assert selective.excess_area(curve).value == pytest.approx((1 / 2 + 1 / 3) / 5)
    assert selective.accuracy_at(curve, 0.8).value == pytest.approx(3 / 4)
    assert selective.accuracy_at(curve, 0.5).value == pytest.approx(2 / 3)  # ceil(2.5) images
    assert selective.coverage_at(curve, 0.25).value == pytest.approx(4 / 5)
    assert selective.coverage_at(curve, 0.2).value == pytest.approx(1 / 5)
    assert selective.coverage_at(curve, 0.4).value == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_a_plain_loop(seed: int) -> None:
    score, wrong = answers(n=173, seed=seed)
    curve, by_hand = risk_coverage(score, wrong), risks(score, wrong)
    assert curve.risk == pytest.approx(by_hand)
    assert selective.area(curve).value == pytest.approx(np.mean(by_hand))
    best = np.mean(risks(-wrong.astype(float) - np.arange(173) / 1000, wrong))
    assert curve.optimum == pytest.approx(best)
    assert selective.excess_area(curve).value == pytest.approx(np.mean(by_hand) - best)
    rate = wrong.mean()
    assert curve.optimum == pytest.approx(rate + (1 - rate) * np.log(1 - rate), abs=rate / 173)  # the approximation
    for part in (0.8, 0.9, 0.95):
        count = int(np.ceil(part * 173))
        assert selective.accuracy_at(curve, part).value == pytest.approx(1 - by_hand[count - 1])
    for limit in (0.01, 0.05, 0.1):
        allowed = [place for place, risk in enumerate(by_hand, 1) if risk <= limit]
        assert selective.coverage_at(curve, limit).value == pytest.approx(max(allowed, default=0) / 173)


def test_equal_scores_give_the_mean_over_their_orders() -> None:
    rng = np.random.default_rng(3)
    score, wrong = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.3
    curve = risk_coverage(score, wrong)
    drawn = np.array([risks(score + 0.5 * rng.random(60), wrong) for _ in range(4000)])
    assert curve.risk == pytest.approx(drawn.mean(axis=0), abs=0.01)
    assert selective.area(curve).value == pytest.approx(drawn.mean(), abs=0.002)
    assert selective.accuracy_at(curve, 0.8).value == pytest.approx(1 - drawn[:, 47].mean(), abs=0.005)
    ends = [int((score >= value).sum()) for value in np.unique(score)]  # a threshold takes equals together
    allowed = [end for end in ends if curve.errors[end] / end <= 0.3]
    assert selective.coverage_at(curve, 0.3).value == pytest.approx(max(allowed) / 60)
    order = rng.permutation(60)
    again = risk_coverage(score[order], wrong[order])
    assert selective.area(again).value == selective.area(curve).value
    assert selective.area(again).influence == pytest.approx(selective.area(curve).influence[order])


def left_out(score: np.ndarray, wrong: np.ndarray, figure: Callable[[RiskCoverage], Share]) -> np.ndarray:
    """The jackknife's influence: (n - 1) times what leaving each image out takes away."""
    whole = figure(risk_coverage(score, wrong)).value
    keep = ~np.eye(len(score), dtype=bool)
    without = np.array([figure(risk_coverage(score[rows], wrong[rows])).value for rows in keep])
    return (len(score) - 1) * (whole - without)


@pytest.mark.parametrize("figure", [selective.area, selective.excess_area])
@pytest.mark.parametrize("equals", [False, True])
def test_the_influence_of_each_image_on_the_areas(figure: Callable[[RiskCoverage], Share], equals: bool) -> None:
    score, wrong = answers(n=600)
    score = np.round(4 * score) if equals else score
    found = figure(risk_coverage(score, wrong)).influence
    assert found.mean() == pytest.approx(0, abs=1e-12)
    expected = left_out(score, wrong, figure)
    assert np.abs(found - expected).max() < 0.04 * expected.std() + 0.01
    assert np.corrcoef(found, expected)[0, 1] > 0.999


@pytest.mark.parametrize(
    ("figure", "slack"),
    [(lambda c: selective.accuracy_at(c, 0.8), 0.12), (lambda c: selective.coverage_at(c, 0.05), 0.35)],
)
def test_influences_give_the_spread_of_repeated_experiments(
    figure: Callable[[RiskCoverage], Share], slack: float
) -> None:
    drawn = [figure(risk_coverage(*answers(n=2000, seed=seed))) for seed in range(300)]
    spread = np.std([one.value for one in drawn])
    claimed = np.median([one.influence.std() / np.sqrt(2000) for one in drawn])
    assert claimed == pytest.approx(spread, rel=slack)
    for one in drawn:
        assert one.influence.mean() == pytest.approx(0, abs=1e-9)
        assert 0 <= one.interval[0] <= one.value <= one.interval[1] <= 1


def test_intervals_hold_the_truth_of_the_population() -> None:
    """Errors lie 1.5 standard deviations lower, so thresholds and areas of the population are integrals of normals."""
    cut = np.linspace(-8, 6, 20001)
    wrong, right = 0.2 * norm.sf(cut, -1.5), 0.8 * norm.sf(cut)
    share, risk = wrong + right, wrong / (wrong + right)
    truth = {
        "area": -np.trapezoid(risk, share),
        "accuracy": 1 - np.interp(0.8, share[::-1], risk[::-1]),
        "coverage": np.interp(0.05, risk[::-1], share[::-1]),
    }
    held = dict.fromkeys(truth, 0)
    for seed in range(400):
        curve = risk_coverage(*answers(n=500, seed=1000 + seed))
        found = {
            "area": selective.area(curve),
            "accuracy": selective.accuracy_at(curve, 0.8),
            "coverage": selective.coverage_at(curve, 0.05),
        }
        for name, figure in found.items():
            held[name] += figure.interval[0] <= truth[name] <= figure.interval[1]
    assert all(370 <= count <= 395 for count in held.values()), held  # of 400; 380 -+ 4 standard errors are 363 to 397


@pytest.mark.parametrize("wrong", [np.zeros(50, bool), np.ones(50, bool)])
def test_all_right_and_all_wrong(wrong: np.ndarray) -> None:
    curve = risk_coverage(np.arange(50.0), wrong)
    rate = float(wrong[0])
    assert selective.area(curve).value == rate and selective.excess_area(curve).value == pytest.approx(0)
    assert selective.accuracy_at(curve, 0.9).value == 1 - rate
    assert selective.coverage_at(curve, 0.01).value == 1 - rate
    for figure in (selective.area(curve), selective.accuracy_at(curve, 0.9), selective.coverage_at(curve, 0.05)):
        low, high = figure.interval
        assert np.isfinite(figure.influence).all() and low <= figure.value <= high and high - low > 0
