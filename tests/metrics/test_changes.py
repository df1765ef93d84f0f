"""Figures along curves of changes, against sums by hand and scikit-learn."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import r2_score

from benchmark.errors import ResultError
from benchmark.metrics import columns
from benchmark.metrics.changes import Histogram, Kind, changes_table, curves, estimates
from benchmark.metrics.intervals import wilson
from benchmark.metrics.metric import Metric
from benchmark.metrics.registry import get_scorer, score

N, CLASSES, CELLS = 60, 4, 7
KINDS = {
    "shuffle": Kind((2, 4, 8), "patches a side", clean=1),
    "cut": Kind((0.5, 32), "cycles", clean=158.4),
    "grey": Kind((100,), "%"),
}


@pytest.fixture
def parts() -> tuple[pa.Array, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    targets = rng.integers(CLASSES, size=N)
    found = {name: rng.integers(CLASSES, size=(N, len(kind.levels))) for name, kind in KINDS.items()}
    found["shuffle"][:40, 0] = targets[:40]
    clean = np.where(np.arange(N) < 50, targets, (targets + 1) % CLASSES)
    return pa.array([f"i{k:02d}" for k in range(N)]), targets, clean, found


def figures_of(table: pa.Table) -> dict[str, Metric]:
    return {metric.name: metric for metric in score(table)}


def test_figures_are_means_over_levels_and_then_over_kinds(parts) -> None:
    ids, targets, clean, found = parts
    figures = figures_of(changes_table(ids, targets, clean, KINDS, found, CLASSES))
    hits = {name: 100 * (values == targets[:, None]).mean(axis=0) for name, values in found.items()}
    top1 = 100 * np.mean(clean == targets)
    wanted = {"top1": top1, "top1@changed": np.mean([hits[name].mean() for name in KINDS])}
    wanted["mean_drop"] = top1 - wanted["top1@changed"]
    for name, kind in KINDS.items():
        wanted |= {f"top1@{name}": hits[name].mean(), f"mean_drop@{name}": top1 - hits[name].mean()}
        if len(kind.levels) > 1:
            wanted |= {f"top1@{name}-{level}": hits[name][place] for place, level in enumerate(kind.levels)}
    assert {name: metric.value for name, metric in figures.items()} == pytest.approx(wanted)
    assert "top1@cut-0.5" in figures and "top1@grey-100" not in figures
    for name, metric in figures.items():
        assert metric.ci_low <= metric.value <= metric.ci_high and metric.n == N
        assert metric.higher_is_better == name.startswith("top1")
    assert (figures["top1"].ci_low, figures["top1"].ci_high) == pytest.approx(
        [100 * float(limit) for limit in wilson(top1 / 100, N)]
    )


def test_contributions_give_the_figures_and_single_levels_are_hits(parts) -> None:
    for estimate in estimates(changes_table(*parts[:3], KINDS, parts[3], CLASSES)):
        assert estimate.contributions.mean() == pytest.approx(estimate.value)
        single = estimate.name in ("top1", "top1@grey") or estimate.name[-1].isdigit()
        assert estimate.binary == single
        if single:
            assert set(np.unique(estimate.contributions)) <= {0.0, 100.0}


def test_curves_have_every_level_in_order_with_the_clean_images_where_they_belong(parts) -> None:
    ids, targets, clean, found = parts
    found_curves = curves(changes_table(ids, targets, clean, KINDS, found, CLASSES))
    assert list(found_curves) == list(KINDS)
    top1 = 100 * np.mean(clean == targets)
    levels, share, low, high = found_curves["shuffle"]
    assert levels.tolist() == [1, 2, 4, 8] and share[0] == pytest.approx(top1)
    assert share[1:] == pytest.approx(100 * (found["shuffle"] == targets[:, None]).mean(axis=0))
    assert (low < share).all() and (share < high).all()
    assert found_curves["cut"].levels.tolist() == [0.5, 32, 158.4] and found_curves["cut"].top1[-1] == share[0]
    assert found_curves["grey"].levels.tolist() == [100]
    ends = {"shuffle": replace(KINDS["shuffle"], levels=(1, 2, 4))}  # the clean level itself was asked about
    own = curves(changes_table(ids, targets, clean, ends, {"shuffle": found["shuffle"]}, CLASSES))["shuffle"]
    assert own.levels.tolist() == [1, 2, 4] and own.top1 == pytest.approx(share[1:])


@pytest.fixture
def colours() -> tuple[np.ndarray, np.ndarray, Histogram]:
    rng = np.random.default_rng(1)
    truth = rng.random((N, CELLS))
    said = 0.6 * truth + 0.2 * rng.random((N, CELLS))
    residual, total = ((truth - said) ** 2).sum(1), ((truth - truth.mean(0)) ** 2).sum(1)
    return truth, said, Histogram(rng.integers(CLASSES, size=N), residual, total)


def test_the_explained_variance_is_scikit_learns_and_its_interval_is_that_of_a_bootstrap(parts, colours) -> None:
    truth, said, histogram = colours
    ids, targets, clean, found = parts
    figures = figures_of(changes_table(ids, targets, clean, KINDS, found, CLASSES, histogram))
    r2 = figures["r2@histogram"]
    assert r2.value == pytest.approx(100 * r2_score(truth, said, multioutput="variance_weighted"))
    assert figures["top1@histogram"].value == pytest.approx(100 * np.mean(histogram.predicted == targets))
    rng = np.random.default_rng(2)
    drawn = [rng.integers(0, N, N) for _ in range(2000)]
    again = [100 * r2_score(truth[i], said[i], multioutput="variance_weighted") for i in drawn]
    assert r2.ci_high - r2.ci_low == pytest.approx(np.subtract(*np.quantile(again, (0.975, 0.025))), rel=0.15)
    assert r2.ci_low < r2.value < r2.ci_high and r2.higher_is_better


def test_a_table_comes_back_from_a_file_with_its_levels(parts, colours) -> None:
    table = changes_table(*parts[:3], KINDS, parts[3], CLASSES, colours[2])
    stream = io.BytesIO()
    pq.write_table(table, stream)
    again = pq.read_table(stream)
    assert score(again) == score(table)
    for one, other in zip(curves(again).values(), curves(table).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_in_another_order_give_the_same_figures(parts, colours) -> None:
    table = changes_table(*parts[:3], KINDS, parts[3], CLASSES, colours[2])
    shuffled = table.take(pa.array(np.random.default_rng(3).permutation(N)))
    assert score(shuffled.replace_schema_metadata(table.schema.metadata)) == score(table)


def test_wrong_tables_are_refused(parts, colours) -> None:
    ids, targets, clean, found = parts
    table = changes_table(ids, targets, clean, KINDS, found, CLASSES)
    with pytest.raises(ResultError, match="in \\[0, 4\\)"):
        score(changes_table(ids, targets, clean, KINDS, {**found, "cut": found["cut"] + 4}, CLASSES))
    with pytest.raises(ResultError, match="a column for each of cut, grey, shuffle; found shuffle, grey"):
        score(table.drop_columns(["cut"]))
    with pytest.raises(ResultError, match="levels of each kind of change"):
        score(columns.stamp(table, "changes", CLASSES))
    for levels in ([2, 4], [2, 4, 4], [], ["a", "b", "c"]):
        fact = {"levels": levels, "axis": "", "clean": None}
        facts = {name: {"levels": list(kind.levels), "axis": "", "clean": None} for name, kind in KINDS.items()}
        with pytest.raises(ResultError, match="shuffle"):
            score(columns.stamp(table, "changes", CLASSES, changes={**facts, "shuffle": fact}))
    negative = replace(colours[2], residual=-colours[2].residual)
    with pytest.raises(ResultError, match="squared distances"):
        score(changes_table(ids, targets, clean, KINDS, found, CLASSES, negative))
    with pytest.raises(ResultError, match="columns of scorer"):
        get_scorer("corruptions")(table)
    with pytest.raises(ValueError, match="predictions of \\(60, 3\\)"):
        changes_table(ids, targets, clean, KINDS, {**found, "shuffle": found["cut"]}, CLASSES)
