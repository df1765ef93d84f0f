"""Figures on corrupted images, against sums by hand."""

import numpy as np
import pyarrow as pa
import pytest

from benchmark.errors import ResultError
from benchmark.metrics.corruptions import EXTRA, FIFTEEN, corruptions_table
from benchmark.metrics.registry import get_scorer, score
from tasks.corruptions import registry

N, CLASSES = 40, 4


@pytest.fixture
def parts() -> tuple[pa.Array, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    targets = rng.integers(CLASSES, size=N)
    found = {name: rng.integers(CLASSES, size=(N, 5)) for name in (*FIFTEEN, *EXTRA)}
    return pa.array([f"i{k}" for k in range(N)]), targets, rng.integers(CLASSES, size=N), found


def test_the_corruptions_are_those_of_the_operators() -> None:
    assert tuple(registry.NAMES) == FIFTEEN and tuple(registry.EXTRA) == EXTRA


def test_means_are_over_fifteen_corruptions_and_five_severities(parts) -> None:
    ids, targets, clean, found = parts
    figures = {metric.name: metric for metric in score(corruptions_table(ids, targets, clean, found, CLASSES))}
    by_hand = [100 * np.mean([found[name][:, s] != targets for s in range(5)]) for name in FIFTEEN]
    assert figures["mean_error"].value == pytest.approx(np.mean(by_hand))
    assert figures["mean_drop"].value == pytest.approx(np.mean(by_hand) - 100 * np.mean(clean != targets))
    assert figures["top1"].value == pytest.approx(100 * np.mean(clean == targets))
    assert figures["error@fog"].value == pytest.approx(by_hand[FIFTEEN.index("fog")])
    assert figures["error@noise"].value == pytest.approx(np.mean(by_hand[:3]))
    assert figures["error@spatter"].value == pytest.approx(100 * np.mean(found["spatter"] != targets[:, None]))
    assert not figures["mean_error"].higher_is_better and figures["top1"].higher_is_better
    for metric in figures.values():
        assert metric.ci_low <= metric.value <= metric.ci_high and metric.n == N


def test_the_extra_four_enter_no_mean(parts) -> None:
    ids, targets, clean, found = parts
    fifteen = {name: found[name] for name in FIFTEEN}
    one, other = (
        {metric.name: metric.value for metric in score(corruptions_table(ids, targets, clean, these, CLASSES))}
        for these in (fifteen, found)
    )
    assert one.items() <= other.items() and len(other) == len(one) + 4


def test_a_missing_corruption_is_an_error_and_never_a_mean_over_fewer(parts) -> None:
    ids, targets, clean, found = parts
    for without in ("snow", "saturate"):
        rest = {name: values for name, values in found.items() if name != without}
        with pytest.raises(ResultError, match=f"none of {without}"):
            score(corruptions_table(ids, targets, clean, rest, CLASSES))


def test_wrong_tables_are_refused(parts) -> None:
    ids, targets, clean, found = parts
    with pytest.raises(ResultError, match="in \\[0, 4\\)"):
        score(corruptions_table(ids, targets, clean, {**found, "fog": found["fog"] + 4}, CLASSES))
    table = corruptions_table(ids, targets, clean, found, CLASSES)
    with pytest.raises(ResultError, match="columns of scorer"):
        get_scorer("classification")(table)
