"""The multi-label scorer against scikit-learn, the written definitions and hand-worked rankings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from benchmark.errors import ResultError
from benchmark.metrics import average_precision
from benchmark.metrics.columns import join, multilabel_table
from benchmark.metrics.registry import score


def world(n: int, classes: int, seed: int = 0, coarse: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((n, classes)) < rng.uniform(0.05, 0.4, classes)
    scores = targets + rng.normal(size=(n, classes)) * 1.2
    return targets, np.round(scores) if coarse else scores.astype(np.float32)


def table_of(targets: np.ndarray, scores: np.ndarray, variant: str = "", draw: int = 0) -> pa.Table:
    return multilabel_table(pa.array([f"{i:04d}" for i in range(len(targets))]), targets, scores, variant, draw)


def figures(table: pa.Table) -> dict[str, float]:
    return {metric.name: metric.value for metric in score(table)}


@pytest.mark.parametrize("coarse", [False, True], ids=["distinct", "tied"])
def test_step_is_scikit_learns_average_precision(coarse):
    targets, scores = world(300, 6, coarse=coarse)
    expected = 100 * average_precision_score(targets, scores, average="macro")
    assert figures(table_of(targets, scores))["mAP@step"] == pytest.approx(expected)


@pytest.mark.parametrize("coarse", [False, True], ids=["distinct", "tied"])
def test_interpolated_is_the_area_under_the_envelope(coarse):
    targets, scores = world(300, 5, coarse=coarse)
    expected = []
    for label in range(5):
        precision, recall, _ = precision_recall_curve(targets[:, label], scores[:, label])
        envelope = np.maximum.accumulate(precision[:-1])  # scikit-learn's recall falls along the arrays
        expected.append(-(np.diff(recall) * envelope).sum())
    assert figures(table_of(targets, scores))["mAP"] == pytest.approx(100 * np.mean(expected))


def test_eleven_points_are_those_of_voc_2007():
    targets, scores = world(400, 5, seed=2)
    expected = []
    for label in range(5):
        precision, recall, _ = precision_recall_curve(targets[:, label], scores[:, label])
        # Without scikit-learn's last point, which is no measurement: precision 1 at recall 0.
        points = [precision[:-1][recall[:-1] >= step / 10 - 1e-12].max() for step in range(11)]
        expected.append(np.mean(points))
    assert figures(table_of(targets, scores))["mAP@11pt"] == pytest.approx(100 * np.mean(expected))


def test_hand_worked_ranking():
    """Hits at ranks 1, 3 and 4 of 5: precisions 1, 2/3, 3/4 at recalls 1/3, 2/3, 1."""
    curve = average_precision.curve_of(np.array([True, False, True, True, False]), np.array([9.0, 8, 7, 6, 5]))
    assert average_precision.step(curve).value == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert average_precision.interpolated(curve).value == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)
    # Recall 0, .1, .2, .3 see precision 1; .4 to 1 see 3/4.
    assert average_precision.eleven_points(curve).value == pytest.approx((4 * 1 + 7 * 3 / 4) / 11)


def test_eleven_points_count_a_recall_that_is_exactly_a_tenth():
    """Three of ten positives found at precision 1: recall .3 is reached, whatever .3 is in floating point."""
    positive = np.array([True] * 3 + [False] * 10 + [True] * 7)
    curve = average_precision.curve_of(positive, -np.arange(20.0))
    assert average_precision.eleven_points(curve).value == pytest.approx((4 * 1 + 7 * 0.5) / 11)


@pytest.mark.parametrize("definition", ["step", "interpolated", "eleven_points"])
def test_influence_is_the_derivative_by_sample_weight(definition):
    """Doubling a sample's weight moves the value as its influence says: checked by repeating samples many times."""
    targets, scores = world(40, 1, seed=5)
    positive, ranking = targets[:, 0], scores[:, 0]
    found = getattr(average_precision, definition)(average_precision.curve_of(positive, ranking))
    copies = 4000
    for sample in range(0, 40, 3):
        counts = np.full(40, copies)
        counts[sample] += copies // 100
        heavier = average_precision.curve_of(np.repeat(positive, counts), np.repeat(ranking, counts))
        moved = (getattr(average_precision, definition)(heavier).value - found.value) * 40 * 100
        assert moved == pytest.approx(found.influence[sample], abs=0.03)


def test_interval_covers_the_long_run_value():
    rng = np.random.default_rng(7)
    full_targets, full_scores = world(100_000, 3, seed=11)
    long_run = figures(table_of(full_targets, full_scores))
    covered = dict.fromkeys(long_run, 0)
    for _ in range(200):
        rows = rng.integers(0, 100_000, 400)
        for metric in score(table_of(full_targets[rows], full_scores[rows])):
            covered[metric.name] += metric.ci_low <= long_run[metric.name] <= metric.ci_high
    assert all(count / 200 > 0.86 for count in covered.values()), covered


def test_classes_without_a_positive_sample_are_left_out():
    targets, scores = world(200, 4)
    targets[:, 2] = False
    kept = [0, 1, 3]
    assert figures(table_of(targets, scores)) == pytest.approx(figures(table_of(targets[:, kept], scores[:, kept])))
    with pytest.raises(ResultError, match="positive"):
        score(table_of(np.zeros((5, 2)), np.ones((5, 2))))


def test_perfect_ranking_is_100_with_an_interval_of_some_width():
    targets, _ = world(60, 3)
    metric = score(table_of(targets, targets.astype(float)))[0]
    assert metric.value == pytest.approx(100) and metric.ci_high == pytest.approx(100) and 80 < metric.ci_low < 100


def test_variants_and_draws():
    targets, scores = world(100, 3)
    other = world(100, 3, seed=1)[1]
    found = {m.name: m for m in score(join([table_of(targets, scores, "k20"), table_of(targets, other, "k20", 1)]))}
    assert set(found) == {"mAP@k20", "mAP@k20-11pt", "mAP@k20-step"}
    alone = [100 * average_precision_score(targets, s, average="macro") for s in (scores, other)]
    assert found["mAP@k20-step"].value == pytest.approx(np.mean(alone))
    assert found["mAP@k20-step"].spread == pytest.approx(np.std(alone, ddof=1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    targets, scores = world(20, 3)
    scores[3, 1] = bad
    with pytest.raises(ResultError, match="finite"):
        score(table_of(targets, scores))


def test_indicators_other_than_zero_and_one_are_refused():
    targets, scores = world(20, 3)
    with pytest.raises(ResultError, match="0 and 1"):
        score(table_of(targets.astype(int) * 2, scores))
