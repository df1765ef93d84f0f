"""mIoU, mAcc and aAcc against scikit-learn's confusion matrix over all pixels and mmsegmentation's formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix

from benchmark.errors import ResultError
from benchmark.metrics.columns import join, segmentation_table
from benchmark.metrics.registry import get_scorer, score
from leaderboard.statistics import paired_difference, pooled_difference

CLASSES = 7


def world(images: int = 30, seed: int = 0, skill: float = 0.6) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Masks and predictions of several sizes; class 5 is predicted and never there, class 6 is nowhere at all."""
    rng = np.random.default_rng(seed)
    masks, predictions = [], []
    for _ in range(images):
        size = tuple(rng.integers(4, 20, 2))
        mask = rng.choice([0, 1, 2, 3, 4, 255], size, p=[0.4, 0.3, 0.15, 0.04, 0.01, 0.1])
        guess = np.where(rng.random(size) < skill, mask, rng.integers(0, 6, size))
        masks.append(mask)
        predictions.append(np.where(guess == 255, 0, guess))
    return masks, predictions


def counted(masks: list[np.ndarray], predictions: list[np.ndarray], variant: str = "") -> pa.Table:
    rows = []
    for mask, guess in zip(masks, predictions, strict=True):
        kept = mask != 255
        matrix = confusion_matrix(mask[kept], guess[kept], labels=range(CLASSES))
        rows.append((matrix.diagonal(), matrix.sum(0), matrix.sum(1)))
    ids = pa.array([f"{index:03d}" for index in range(len(masks))])
    return segmentation_table(ids, *(np.array(part) for part in zip(*rows, strict=True)), variant)


def by_hand(masks: list[np.ndarray], predictions: list[np.ndarray]) -> dict[str, float]:
    """mmseg.evaluation.IoUMetric's formulas on one confusion matrix of all pixels: nan where a class is absent."""
    target, guess = (np.concatenate([part.ravel() for part in parts]) for parts in (masks, predictions))
    matrix = confusion_matrix(target[target != 255], guess[target != 255], labels=range(CLASSES))
    hit, predicted, labelled = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    with np.errstate(invalid="ignore"):
        iou, acc = hit / (predicted + labelled - hit), hit / labelled
    return {
        "mIoU": 100 * float(np.nanmean(iou)),
        "mAcc": 100 * float(np.nanmean(acc)),
        "aAcc": 100 * float(hit.sum() / labelled.sum()),
    }


def test_figures_equal_one_confusion_matrix_over_all_pixels():
    masks, predictions = world()
    found = {metric.name: metric for metric in score(counted(masks, predictions))}
    for name, expected in by_hand(masks, predictions).items():
        assert found[name].value == pytest.approx(expected, abs=1e-9)
        assert found[name].ci_low < expected < found[name].ci_high
        assert found[name].n == 30 and found[name].higher_is_better


def test_a_class_predicted_and_never_there_counts_and_one_that_is_nowhere_does_not():
    masks, predictions = [np.array([[0, 0, 1, 1]])], [np.array([[0, 0, 1, 2]])]
    found = {metric.name: metric.value for metric in score(counted(masks, predictions))}
    assert found["mIoU"] == pytest.approx(100 * (1 + 0.5 + 0) / 3)
    assert found["mAcc"] == pytest.approx(100 * (1 + 0.5) / 2)
    assert found["aAcc"] == pytest.approx(75)


def test_resampled_contributions_give_what_scoring_the_resampled_images_gives():
    masks, predictions = world()
    chosen = np.random.default_rng(1).integers(0, 30, 30)
    expected = by_hand([masks[i] for i in chosen], [predictions[i] for i in chosen])
    for estimate in get_scorer("segmentation").check(counted(masks, predictions)):
        means = estimate.contributions[chosen].mean(axis=0)
        assert estimate.combine(means[None])[0] == pytest.approx(expected[estimate.name], abs=1e-9)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    truth = by_hand(*world(6000, seed=99))
    hits = dict.fromkeys(truth, 0)
    for seed in range(60):
        for metric in score(counted(*world(60, seed=seed))):
            hits[metric.name] += metric.ci_low <= truth[metric.name] <= metric.ci_high
    # 57 of 60 expected; 51 or fewer of a fair interval in 1.2% of all sets of worlds
    assert all(count >= 51 for count in hits.values()), hits


def test_variants_stay_apart():
    masks, predictions = world()
    table = join([counted(masks, predictions, "k1"), counted(masks, masks_as_truth(masks), "k3")])
    found = {metric.name: metric.value for metric in score(table)}
    assert found["mIoU@k3"] == pytest.approx(100) and found["mIoU@k1"] < 90


def masks_as_truth(masks: list[np.ndarray]) -> list[np.ndarray]:
    return [np.where(mask == 255, 0, mask) for mask in masks]


def test_a_paired_comparison_sees_the_difference_of_the_figures():
    masks, good = world(skill=0.7)
    _, bad = world(skill=0.5)
    table = [counted(masks, guess) for guess in (good, bad)]
    found = paired_difference(table[0], table[1], "mIoU")
    assert found.delta == pytest.approx(by_hand(masks, bad)["mIoU"] - by_hand(masks, good)["mIoU"])
    assert found.ci_low < found.delta < found.ci_high < 0 and found.p_value < 0.01
    same = paired_difference(table[0], table[0], "mIoU")
    assert same.delta == 0 and same.p_value == 1


def test_seeds_are_pooled_as_the_mean_of_their_figures():
    masks, first = world(skill=0.7)
    pairs = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        other = [np.where(rng.random(guess.shape) < 0.2, 0, guess) for guess in first]
        pairs.append((counted(masks, first), counted(masks, other)))
    deltas = [paired_difference(*pair, "mIoU").delta for pair in pairs]
    pooled = pooled_difference([pair[0] for pair in pairs], [pair[1] for pair in pairs], "mIoU")
    assert pooled.delta == pytest.approx(np.mean(deltas))
    assert pooled.ci_low < pooled.delta < pooled.ci_high


def test_other_labels_on_both_sides_are_refused():
    masks, predictions = world()
    others = [np.where(mask == 1, 2, mask) for mask in masks]
    with pytest.raises(ResultError, match="same targets"):
        paired_difference(counted(masks, predictions), counted(others, predictions), "mIoU")


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("intersection", 1000, "intersections"),
        ("predicted", 1000, "every labelled pixel"),
        ("intersection", -1000, "counts"),
    ],
)
def test_counts_that_contradict_each_other_are_refused(column, change, words):
    table = counted(*world(5))
    values = table.column(column).combine_chunks().flatten().to_numpy(zero_copy_only=False).copy()
    values[3] += change
    place = table.column_names.index(column)
    broken = pa.FixedSizeListArray.from_arrays(pa.array(values), CLASSES)
    with pytest.raises(ResultError, match=words):
        score(table.set_column(place, column, broken))


def test_nothing_labelled_is_no_figure():
    nothing = np.zeros((4, CLASSES), int)
    with pytest.raises(ResultError, match="labelled pixels"):
        score(segmentation_table(pa.array(list("abcd")), nothing, nothing, nothing))


def test_draws_are_averaged_and_their_spread_is_told():
    masks, predictions = world()
    table = counted(masks, predictions)
    again = table.set_column(1, "draw", pa.array(np.ones(30, np.int32)))
    found = get_scorer("segmentation").check(join([table, again]))[0]
    assert found.folds == 2 and found.metric().spread == 0
    assert found.combine(found.contributions.mean(axis=0)[None])[0] == pytest.approx(found.value)
    assert replace(found, per_draw=()).metric().draws == 1
