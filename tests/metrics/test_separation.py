"""Two sets told apart by a score, against scikit-learn, DeLong by hand and repeated experiments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from benchmark.metrics.estimate import Share
from benchmark.metrics.separation import false_positives, precision_area, roc_area

Figure = Callable[[np.ndarray, np.ndarray], Share]
FIGURES = [roc_area, false_positives, precision_area]


def sets(m: int, n: int, apart: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=m) + apart, rng.normal(size=n)


WORLDS = {
    "apart": sets(300, 170, 1.5, 0),
    "alike": sets(97, 401, 0.0, 1),
    "the wrong way round": sets(50, 60, -2.0, 2),
    "with equals": tuple(np.round(3 * part) for part in sets(200, 230, 1.0, 3)),
    "two values": tuple((part > 0).astype(float) for part in sets(60, 75, 0.5, 4)),
    "all equal": (np.zeros(20), np.zeros(30)),
    "nothing between": (np.arange(20.0) + 100, np.arange(30.0)),
    "all the wrong way": (np.arange(20.0), np.arange(30.0) + 100),
    "tiny differences": tuple(1 + 1e-15 * np.round(part) for part in sets(80, 80, 1.0, 5)),
    "huge values": tuple(1e300 * part for part in sets(80, 80, 1.0, 6)),
    "two and two": (np.array([1.0, 3.0]), np.array([2.0, 0.0])),
}


@pytest.mark.parametrize("world", WORLDS)
def test_values_are_scikit_learns(world: str) -> None:
    inside, outside = WORLDS[world]
    label = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    scores = np.concatenate([inside, outside])
    assert roc_area(inside, outside).value == pytest.approx(roc_auc_score(label, scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(label, scores, drop_intermediate=False)
    assert false_positives(inside, outside).value == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)
    assert precision_area(inside, outside).value == pytest.approx(average_precision_score(label, scores), abs=1e-12)
    as_out = average_precision_score(1 - label, -scores)
    assert precision_area(-outside, -inside).value == pytest.approx(as_out, abs=1e-12)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_has_an_interval_around_it(world: str, figure: Figure) -> None:
    inside, outside = WORLDS[world]
    found = figure(inside, outside)
    low, high = found.interval
    assert 0 <= low <= found.value <= high <= 1 and high > low
    assert found.influence.shape == (len(inside) + len(outside),) and np.isfinite(found.influence).all()
    parts = found.influence[: len(inside)], found.influence[len(inside) :]
    assert [part.mean() for part in parts] == pytest.approx([0, 0], abs=1e-9)  # sizes are held fixed
    again = figure(inside[::-1].copy(), outside)
    assert again.value == found.value and again.influence[: len(inside)] == pytest.approx(parts[0][::-1])


def test_five_images_by_hand() -> None:
    inside, outside = np.array([4.0, 2.0, 1.0]), np.array([3.0, 1.0])
    found = roc_area(inside, outside)
    assert found.value == pytest.approx((2 + 1 + 0.5) / 6)  # pairs won, an equal one by half
    above, below = np.array([1, 1 / 2, 1 / 4]), np.array([1 / 3, 5 / 6])
    error = np.sqrt(above.var(ddof=1) / 3 + below.var(ddof=1) / 2)  # DeLong
    logit = np.log(found.value / (1 - found.value))
    half = norm.ppf(0.975) * error / (found.value * (1 - found.value))
    assert found.interval == pytest.approx([1 / (1 + np.exp(-logit - side * half)) for side in (-1, 1)])
    assert found.influence == pytest.approx([*(above - 7 / 12) * 5 / 3, *(below - 7 / 12) * 5 / 2])
    assert false_positives(inside, outside).value == 1.0  # 1 reaches all three: both outside do too
    assert false_positives(inside, outside, recall=0.6).value == 0.5  # 2 reaches two of three


@pytest.mark.parametrize("figure", [roc_area, precision_area])
def test_influences_are_what_leaving_an_image_out_changes(figure: Figure) -> None:
    inside, outside = sets(300, 200, 1.0, 7)
    found = figure(inside, outside)

    def left_out(part: np.ndarray, value: Callable[[np.ndarray], float]) -> np.ndarray:
        without = np.array([value(np.delete(part, place)) for place in range(len(part))])
        return (len(part) - 1) * (without.mean() - without)

    expected = np.concatenate(
        [
            left_out(inside, lambda kept: figure(kept, outside).value) * 500 / 300,
            left_out(outside, lambda kept: figure(inside, kept).value) * 500 / 200,
        ]
    )
    assert np.corrcoef(found.influence, expected)[0, 1] > 0.999
    assert found.influence.std() == pytest.approx(expected.std(), rel=0.02)


@pytest.mark.parametrize(("figure", "slack"), [(roc_area, 0.1), (false_positives, 0.2), (precision_area, 0.1)])
@pytest.mark.parametrize(("m", "n"), [(400, 100), (150, 600)])
def test_influences_give_the_spread_of_repeated_experiments(figure: Figure, slack: float, m: int, n: int) -> None:
    drawn = [figure(*sets(m, n, 1.0, seed)) for seed in range(400)]
    claimed = np.median([one.influence.std() / np.sqrt(m + n) for one in drawn])
    assert claimed == pytest.approx(np.std([one.value for one in drawn]), rel=slack)


@pytest.mark.parametrize(("m", "n", "apart"), [(372, 100, 1.0), (200, 300, 3.0)])
def test_intervals_hold_the_truth_of_two_normals(m: int, n: int, apart: float) -> None:
    many = sets(200_000, 200_000 * n // m, apart, 99)
    truth = {
        roc_area: norm.cdf(apart / np.sqrt(2)),
        false_positives: norm.sf(norm.ppf(0.05) + apart),
        precision_area: precision_area(*many).value,
    }
    for figure, value in truth.items():
        found = [figure(*sets(m, n, apart, 500 + seed)).interval for seed in range(300)]
        assert sum(low <= value <= high for low, high in found) >= 273, figure  # 285 -+ 3 standard errors
