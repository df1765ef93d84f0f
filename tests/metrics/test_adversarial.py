"""Figures under attack, against sums by hand and exact intervals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmark.errors import ResultError
from benchmark.metrics.adversarial import Attack, adversarial_table
from benchmark.metrics.intervals import wilson
from benchmark.metrics.registry import get_scorer, score
from benchmark.metrics.significance import mcnemar, mcnemar_one_sided

N, CLASSES = 60, 5
FAR, NEAR, HALF, AUTO = Attack("pgd", 4), Attack("fgsm", 1), Attack("fgsm", 0.5), Attack("autoattack", 4)


@pytest.fixture
def parts() -> tuple[pa.Array, np.ndarray, np.ndarray, dict[Attack, np.ndarray]]:
    rng = np.random.default_rng(0)
    targets = rng.integers(CLASSES, size=N)
    clean = np.where(rng.random(N) < 0.8, targets, (targets + 1) % CLASSES)
    found = {}
    for attack, strength in ((FAR, 0.7), (NEAR, 0.3), (HALF, 0.1), (AUTO, 0.9)):
        found[attack] = np.where(rng.random(N) < strength, (targets + 2) % CLASSES, clean)
    found[AUTO][rng.permutation(N)[:25]] = -1
    return pa.array([f"i{k:02d}" for k in rng.permutation(N)]), targets, clean, found


def test_figures_are_shares_of_those_asked(parts) -> None:
    ids, targets, clean, found = parts
    metrics = score(adversarial_table(ids, targets, clean, found, CLASSES))
    assert [metric.name for metric in metrics] == [
        "top1",
        "top1@fgsm-0.5",
        "top1@fgsm-1",
        "top1@pgd-4",
        "top1@autoattack-4",
    ]
    for metric, answers in zip(metrics, (clean, found[HALF], found[NEAR], found[FAR], found[AUTO]), strict=True):
        asked = answers >= 0
        share = np.mean(answers[asked] == targets[asked])
        assert metric.value == pytest.approx(100 * share) and metric.n == asked.sum() and metric.higher_is_better
        low, high = wilson(share, asked.sum())
        assert (metric.ci_low, metric.ci_high) == pytest.approx((100 * low, 100 * high))
    assert metrics[-1].n == 35


def test_samples_can_be_paired_between_runs(parts) -> None:
    ids, targets, clean, found = parts
    table = adversarial_table(ids, targets, clean, found, CLASSES)
    estimates = get_scorer("adversarial").estimates(table)
    asked = {name.as_py() for name, answer in zip(ids, found[AUTO], strict=True) if answer >= 0}
    assert list(estimates[-1].units) == sorted(asked) and estimates[-1].binary
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(N)))
    for one, other in zip(estimates, get_scorer("adversarial").estimates(shuffled), strict=True):
        np.testing.assert_array_equal(one.contributions, other.contributions)


def test_wrong_tables_are_refused(parts) -> None:
    ids, targets, clean, found = parts

    def refused(change: dict[Attack, np.ndarray], match: str) -> None:
        with pytest.raises(ResultError, match=match):
            score(adversarial_table(ids, targets, clean, {**found, **change}, CLASSES))

    refused({FAR: found[FAR] + CLASSES}, r"in \[0, 5\)")
    refused({FAR: np.where(np.arange(N) == 3, -1, found[FAR])}, "no nulls in 'pgd-4'")
    refused({AUTO: np.full(N, -1)}, "an answer in 'autoattack-4'")
    refused({NEAR: targets}, "wrong under every attack where they are wrong without")
    with pytest.raises(ResultError, match="a column of an attack"):
        score(adversarial_table(ids, targets, clean, {}, CLASSES))


def test_the_one_sided_test_is_a_sum_of_binomials() -> None:
    assert mcnemar_one_sided(0, 7) == pytest.approx(1 / 128)
    assert mcnemar_one_sided(2, 6) == pytest.approx((28 + 8 + 1) / 256)
    assert mcnemar_one_sided(5, 0) == mcnemar_one_sided(0, 0) == 1
    assert 2 * mcnemar_one_sided(3, 11) == pytest.approx(mcnemar(3, 11))
