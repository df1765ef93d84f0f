"""Figures of shifted images and of conflicting cues, against sums by hand."""

import numpy as np
import pyarrow as pa
import pytest

from benchmark.errors import ResultError
from benchmark.metrics.columns import join
from benchmark.metrics.registry import get_scorer, score
from benchmark.metrics.shape_bias import shape_bias_table
from benchmark.metrics.shift import shift_table


def domain(name: str, n: int, right: float, rng: np.random.Generator) -> tuple[pa.Table, float]:
    accepted = np.zeros((n, 6), bool)
    accepted[np.arange(n), rng.integers(6, size=n)] = True
    accepted[rng.random((n, 6)) < 0.1] = True
    predictions = rng.integers(6, size=n)
    good = rng.random(n) < right
    predictions[good] = accepted[good].argmax(axis=1)
    table = shift_table(name, pa.array([f"i{k:03d}" for k in rng.permutation(n)]), accepted, predictions)
    return table, 100 * accepted[np.arange(n), predictions].mean()


def test_an_answer_is_right_where_it_is_one_of_those_that_count() -> None:
    rng = np.random.default_rng(0)
    (clean, before), (shifted, after) = domain("clean", 300, 0.8, rng), domain("shifted", 120, 0.3, rng)
    figures = {metric.name: metric for metric in score(join([clean, shifted]))}
    assert set(figures) == {"top1", "top1@clean", "drop"}
    assert figures["top1"].value == pytest.approx(after) and figures["top1"].n == 120
    assert figures["top1@clean"].value == pytest.approx(before) and figures["top1@clean"].n == 300
    drop = figures["drop"]
    assert drop.value == pytest.approx(before - after) and not drop.higher_is_better and drop.n == 420
    # Newcombe 1998, method 10, from the Wilson intervals of the two
    a, b = figures["top1@clean"], figures["top1"]
    below = ((a.value - a.ci_low) ** 2 + (b.ci_high - b.value) ** 2) ** 0.5
    assert drop.ci_low == pytest.approx(drop.value - below)


def test_what_each_image_adds_to_the_drop_gives_its_value_and_its_error() -> None:
    rng = np.random.default_rng(1)
    (clean, before), (shifted, after) = domain("clean", 200, 0.8, rng), domain("shifted", 100, 0.3, rng)
    drop = get_scorer("shift").estimates(join([clean, shifted]))[-1]
    influence = drop.linear()
    assert influence is not None and influence.mean() == pytest.approx(before - after)
    p, q = before / 100, after / 100
    by_hand = 100 * (p * (1 - p) / 200 + q * (1 - q) / 100) ** 0.5
    assert influence.std() / len(influence) ** 0.5 == pytest.approx(by_hand, rel=1e-6)
    assert list(drop.units) == sorted(drop.units)


def test_wrong_tables_of_shifted_images_are_refused() -> None:
    rng = np.random.default_rng(0)
    clean, _ = domain("clean", 20, 0.8, rng)
    with pytest.raises(ResultError, match="rows of clean and of shifted images"):
        score(clean)
    nothing = shift_table("shifted", pa.array(["a"]), np.zeros((1, 6), bool), np.zeros(1, np.int64))
    with pytest.raises(ResultError, match="a class that counts as right for every image"):
        score(join([clean, nothing]))


NAMES = ("bear", "cat", "dog")


def conflicts(shape: list[int], texture: list[int], decided: list[int]) -> pa.Table:
    ids = pa.array([f"i{k:02d}" for k in range(len(shape))])
    return shape_bias_table(ids, np.array(shape), np.array(texture), np.array(decided), NAMES)


def test_shape_bias_is_the_share_of_shapes_among_decisions_for_either_cue() -> None:
    # conflicts: shape, shape, texture, neither; the fifth has one category and does not count
    table = conflicts([0, 0, 1, 2, 1], [1, 2, 0, 0, 1], [0, 0, 0, 1, 1])
    figures = {metric.name: metric for metric in score(table)}
    assert figures["shape_bias"].value == pytest.approx(100 * 2 / 3)
    assert figures["top1@shape"].value == pytest.approx(50) and figures["top1@texture"].value == pytest.approx(25)
    assert figures["shape_bias@bear"].value == 100 and figures["shape_bias@cat"].value == 0
    assert "shape_bias@dog" not in figures and figures["shape_bias"].n == 4
    assert 0 <= figures["shape_bias"].ci_low < 200 / 3 < figures["shape_bias"].ci_high <= 100


def test_what_each_image_adds_to_shape_bias() -> None:
    rng = np.random.default_rng(0)
    shape, texture = rng.integers(3, size=400), rng.integers(3, size=400)
    decided = np.where(rng.random(400) < 0.5, shape, texture)
    estimate = get_scorer("shape-bias").estimates(conflicts(list(shape), list(texture), list(decided)))[0]
    combined = estimate.combine(estimate.contributions.mean(axis=0, keepdims=True))[0]
    assert combined == pytest.approx(estimate.value)
    linear = estimate.linear()
    assert linear is not None and linear.mean() == pytest.approx(estimate.value)


def test_images_without_a_conflict_have_no_shape_bias() -> None:
    with pytest.raises(ResultError, match="differ in category"):
        score(conflicts([0, 1], [0, 1], [0, 1]))
    assert "shape_bias" not in {metric.name for metric in score(conflicts([0], [1], [2]))}
