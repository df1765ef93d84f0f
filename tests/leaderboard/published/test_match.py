"""A published figure stands beside a measured one of the same weights, protocol and data, and beside no other."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from scipy import stats

from benchmark.errors import ResultError
from benchmark.results.schema import ErrorRecord, SelectionRecord
from leaderboard.published.mapping import DatasetFacts, Target, published_map
from leaderboard.published.match import (
    allowance,
    beside,
    contradicted,
    differences,
    left_out,
    unidentified,
)
from leaderboard.published.rows import published_rows
from tests.leaderboard.published.examples import entry, result

ROW = next(row for row in published_rows() if row.weights == "dino_vits16" and row.task == "imagenet-1k/knn-dino")


def target(**changes: Any) -> Target:
    plain = Target(
        dataset="imagenet-1k", facts=DatasetFacts(splits=("val",)), protocol="knn/dino", version=1, paper=False,
        metric="top1@k20", selection=None, representation=None, preprocessing={}, tolerance=0.3, spread=0.0, trials=1,
    )  # fmt: skip
    return replace(plain, **changes)


def test_the_same_weights_and_protocol_stand_side_by_side() -> None:
    (one,) = beside([entry(74.42)])
    assert (one.model, one.dataset, one.task, one.protocol, one.metric) == (
        "m", "imagenet-1k", "knn", "knn/dino", "top1@k20",
    )  # fmt: skip
    assert (one.measured, one.published, one.printed) == (74.42, 74.5, "74.5")
    assert (one.source, one.confidence, one.flag) == ("facebookresearch/dino README.md", "cell-checked", "")
    assert one.difference == pytest.approx(-0.08)
    assert one.contradicted is False
    assert contradicted([one]) == []


@pytest.mark.parametrize(
    ("measured", "wrong"),
    [(74.5, False), (74.16, False), (74.84, False), (74.14, True), (74.86, True), (41.0, True)],
)
def test_a_figure_is_contradicted_beyond_rounding_and_tolerance(measured: float, wrong: bool) -> None:
    """74.5 stands for 74.45 to 74.55, and k-NN has a tolerance of 0.3: 74.15 to 74.85."""
    (one,) = beside([entry(measured)])
    assert one.allowed == pytest.approx(0.35)
    assert one.contradicted is wrong
    assert contradicted([one]) == ([one] if wrong else [])
    assert ("more than" if wrong else "within") in one.reason


def test_the_interval_over_test_images_decides_nothing() -> None:
    """The same weights on the same images: a difference of 0.36 within an interval of 0.38 is one all the same."""
    (one,) = beside([entry(74.5 - 0.36)])
    assert one.ci_low < one.published < one.ci_high
    assert one.contradicted is True


def test_a_figure_printed_with_fewer_digits_allows_more() -> None:
    coarse = replace(ROW, value=Decimal("75"))
    (one,) = beside([entry(74.3)], [coarse])
    assert one.allowed == pytest.approx(0.8) and one.contradicted is False
    fine = replace(ROW, value=Decimal("75.00"))
    (one,) = beside([entry(74.3)], [fine])
    assert one.allowed == pytest.approx(0.305) and one.contradicted is True


def test_a_suspect_figure_is_shown_and_never_compared() -> None:
    suspect = replace(ROW, flag="SUSPECT: printed twice", value=Decimal("12.0"))
    (one,) = beside([entry(74.5)], [suspect])
    assert (one.difference, one.allowed, one.contradicted) == (None, None, None)
    assert one.flag.startswith("SUSPECT") and "printed twice" in one.reason
    assert contradicted([one]) == []


def test_an_approximate_figure_gives_a_difference_and_no_verdict() -> None:
    about = replace(ROW, flag='README says "close to"', value=Decimal("12.0"))
    (one,) = beside([entry(74.5)], [about])
    assert one.difference == pytest.approx(62.5)
    assert one.contradicted is None and contradicted([one]) == []


def test_figures_of_several_sources_all_stand_beside() -> None:
    other = replace(ROW, source="another README.md", value=Decimal("73.0"))
    first, second = beside([entry(74.5)], [ROW, other])
    assert (first.contradicted, second.contradicted) == (False, True)
    assert second.source == "another README.md"


def test_every_k_meets_its_own_figure() -> None:
    name = "mmselfsup_byol_resnet50_8xb32-accum16-coslr-200e"
    base = result(64.2, weights=name)
    metrics = tuple(
        base.metrics[0].model_copy(update={"name": f"top1@k{k}", "value": value})
        for k, value in ((10, 63.9), (20, 64.2), (100, 62.9), (200, 61.9))
    )
    found = beside([replace(entry(), result=base.model_copy(update={"metrics": metrics}))])
    assert {one.metric: one.printed for one in found} == {
        "top1@k10": "63.9", "top1@k20": "64.2", "top1@k100": "62.9", "top1@k200": "61.9",
    }  # fmt: skip
    assert all(one.difference == pytest.approx(0) and one.contradicted is False for one in found)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": {"name": "knn/dino+temperature=0.1"}}, "protocol: knn/dino+temperature=0.1"),
        ({"protocol": {"version": 2}}, "protocol version: 2, published 1"),
        ({"protocol": {"name": "knn/dino/paper", "paper": True}}, "selection on the reported split: yes"),
        ({"selection": SelectionRecord(how="train-10%", n=128116)}, "selection: train-10%, published none"),
        ({"data": {"name": "imagenet"}}, "dataset: imagenet, published imagenet-1k"),
        ({"data": {"n_reported": 5000}}, "reported images: 5,000, published 50,000"),
        ({"data": {"n_train": 128116}}, "training images: 128,116, published 1,281,167"),
        ({"data": {"classes": 100}}, "classes: 100, published 1,000"),
        ({"data": {"reported_split": "train"}}, "split: train, published val or validation or test"),
        ({"data": {"skipped": {"val": ["a", "b"]}}}, "images left out: 2"),
        ({"model": {"preprocessing": {"size": [256, 256], "crop_pct": 0.875}}}, "size: 256x256, published 224"),
        ({"model": {"preprocessing": {"size": [224, 224], "crop_pct": 0.9}}}, "crop_pct: 0.9, published 0.875"),
        ({"model": {"preprocessing": {"size": [224, 224]}}}, "crop_pct: None, published 0.875"),
        ({"protocol": {"settings": {"crop_pct": 1.0}}}, "crop_pct: 1.0, published 0.875"),
        ({"protocol": {"settings": {"size": 448}}}, "size: 448, published 224"),
        ({"metric": "top1@k10"}, "no metric top1@k20"),
    ],
)
def test_what_differs_keeps_them_apart_and_is_said(changes: dict[str, Any], reason: str) -> None:
    entries = [entry(74.5, **changes)]
    assert beside(entries) == []
    missed = [one for one in left_out(entries) if one.row is ROW]
    assert len(missed) == 1 and reason in missed[0].reason
    assert missed[0].near


def test_another_protocol_or_dataset_is_simply_not_measured() -> None:
    for changes in (
        {"protocol": {"name": "knn/vissl"}},
        {"data": {"name": "pets", "n_reported": 3669, "classes": 37}},
        {"status": "failed", "error": ErrorRecord(kind="k", message="m", traceback="t"), "metrics": ()},
    ):
        entries = [entry(**changes)]
        assert beside(entries) == []
        (missed,) = (one for one in left_out(entries) if one.row is ROW)
        assert (missed.reason, missed.near) == ("not measured: knn/dino on imagenet-1k", False)


def test_a_crop_that_the_protocol_pins_counts_and_not_the_checkpoints() -> None:
    model = {"preprocessing": {"size": [224, 224], "crop_pct": 0.95}}
    (one,) = beside([entry(74.5, model=model, protocol={"settings": {"crop_pct": 0.875}})])
    assert one.contradicted is False


def test_a_representation_is_demanded_where_the_figure_is_of_one() -> None:
    found = differences(result(), target(representation="res5-2x2"))
    assert found == ["representation: gap, published res5-2x2"]
    assert differences(result(), target(representation="gap")) == []


def test_figures_of_other_protocols_say_why_they_are_not_compared() -> None:
    entries = [entry(weights="dinov2_vits14")]
    awaiting = published_map().model_copy(update={"awaited": ("linear/dinov2/paper",)})
    reasons = {one.row.task: one.reason for one in left_out(entries, mapping=awaiting)}
    assert reasons["imagenet-1k/linear-dinov2"] == "linear/dinov2/paper is no protocol of ours yet"
    there = published_map().model_copy(update={"awaited": ()})
    reasons = {one.row.task: one.reason for one in left_out(entries, mapping=there)}
    assert reasons["imagenet-1k/linear-dinov2"] == "not measured: linear/dinov2/paper on imagenet-1k"
    assert reasons["imagenet-v2/linear-dinov2"].startswith("the head is chosen on ImageNet")
    assert "imagenet-1k/knn-dino" not in reasons


def test_weights_are_gone_by_and_not_names() -> None:
    model = {"name": "dino_vits16", "spec": "dino_vits16.pth"}
    assert beside([entry(weights=None, model=model)]) == []
    assert "weights" in unidentified([entry(weights=None, model=model)])["dino_vits16"]


def test_seeds_are_one_comparison_of_their_mean() -> None:
    (one,) = beside([entry(value, seed=seed) for seed, value in enumerate((74.3, 74.5, 74.7))])
    assert one.measured == pytest.approx(74.5) and len(one.entries) == 3


def test_results_on_changed_data_are_compared_on_their_own() -> None:
    found = beside([entry(74.5), entry(70.0, data={"fingerprint": "other"})])
    assert [one.contradicted for one in found] == [False, True]


def values(*figures: float, spread: float | None = None, draws: int = 1) -> list[Any]:
    return [result(figure, spread=spread, draws=draws).metrics[0] for figure in figures]


def test_chance_between_runs_widens_what_is_allowed() -> None:
    """A run against a mean of four: 1.96 * 0.08 * sqrt(1 + 1/4), by hand 0.17531."""
    one_run = allowance(values(83.5), replace(ROW, value=Decimal("83.57")), target(spread=0.08, trials=4))
    assert one_run == pytest.approx(0.005 + 0.3 + 0.17531, abs=1e-4)
    four_runs = allowance(values(83.5, 83.6, 83.4, 83.5), ROW, target(spread=0.08, trials=4))
    assert four_runs == pytest.approx(0.05 + 0.3 + 1.959964 * 0.08 * math.sqrt(0.5), abs=1e-6)


def test_measured_seeds_tell_the_chance_where_none_is_published() -> None:
    figures = (74.0, 74.4, 74.8)  # standard deviation 0.4
    expected = 0.35 + stats.t.ppf(0.975, 2) * 0.4 * math.sqrt(1 / 3 + 1)
    assert allowance(values(*figures), ROW, target()) == pytest.approx(expected)
    assert allowance(values(74.0, 74.8), ROW, target()) == pytest.approx(0.35), "two say next to nothing"


def test_a_protocols_own_draws_count_on_both_sides() -> None:
    """600 episodes of standard deviation 9 on either side: 1.96 * sqrt(2 * 81 / 600)."""
    found = allowance(values(88.0, spread=9.0, draws=600), ROW, target())
    assert found == pytest.approx(0.35 + 1.959964 * math.sqrt(2 * 81 / 600), abs=1e-6)


def test_a_row_without_weights_meets_nobody() -> None:
    nobody = replace(ROW, weights=None)
    assert beside([entry(weights=None)], [nobody]) == []
    assert beside([entry()], [nobody]) == []


def test_the_schema_takes_old_results_without_weights() -> None:
    raw = result().model_dump(mode="json")
    del raw["model"]["weights"]
    assert type(result()).model_validate(raw).model.weights is None


def test_a_task_that_no_rule_has_is_an_error() -> None:
    with pytest.raises(ResultError, match="one rule for the published task imagenet-1k/unheard-of"):
        left_out([entry()], [replace(ROW, task="imagenet-1k/unheard-of")])
