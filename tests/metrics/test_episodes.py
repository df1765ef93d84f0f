"""The episodes scorer against figures worked by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmark.errors import ResultError
from benchmark.metrics.columns import episodes_table, join
from benchmark.metrics.registry import get_scorer, score


def table_of(hits: list[list[int]], variant: str = "5way-1shot") -> pa.Table:
    """Query q of every episode has target q; a miss predicts the next class."""
    outcome = np.array(hits)
    episodes, queries = outcome.shape
    targets = np.tile(np.arange(queries), episodes)
    return episodes_table(
        np.repeat(np.arange(episodes), queries),
        pa.array([f"q{i}" for i in np.tile(np.arange(queries), episodes)]),
        targets,
        np.where(outcome.ravel() == 1, targets, (targets + 1) % queries),
        queries,
        variant,
    )


def test_mean_over_episodes_and_the_interval_of_the_literature():
    metric = score(table_of([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]))[0]
    assert metric.name == "top1@5way-1shot" and metric.n == 3
    assert metric.value == pytest.approx(75.0)
    half = 1.959964 * np.std([50, 75, 100]) / np.sqrt(3)  # numpy's std: ddof 0
    assert (metric.ci_low, metric.ci_high) == pytest.approx((75 - half, min(100, 75 + half)), rel=1e-6)


def test_variants_are_scored_apart():
    found = score(join([table_of([[1, 0], [1, 1]], "5way-1shot"), table_of([[0, 0], [0, 1]], "5way-5shot")]))
    assert [(metric.name, metric.value) for metric in found] == [("top1@5way-1shot", 75.0), ("top1@5way-5shot", 25.0)]


def test_units_tell_whether_two_runs_met_the_same_episodes():
    scorer = get_scorer("episodes")
    first, second = table_of([[1, 1], [0, 1]]), table_of([[0, 1], [0, 1]])
    assert np.array_equal(scorer.estimates(first)[0].units, scorer.estimates(second)[0].units)
    renamed = second.set_column(2, "sample", pa.array(["q0", "q9", "q0", "q1"]))
    assert not np.array_equal(scorer.estimates(first)[0].units, scorer.estimates(renamed)[0].units)


def test_refuses_uneven_episodes_and_samples_that_come_twice():
    table = table_of([[1, 1, 0], [1, 0, 0]])
    with pytest.raises(ResultError, match="one size"):
        score(table.slice(0, 5))
    with pytest.raises(ResultError, match="once per episode"):
        score(table.take([0, 0, 1, 3, 4, 5]))
