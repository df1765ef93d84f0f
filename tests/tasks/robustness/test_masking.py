"""Attacks that are weaker than they have to be, against exact binomial sums."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from benchmark.errors import BackboneError
from benchmark.metrics.adversarial import Attack
from tasks.robustness.masking import refuse, violations

FGSM, PGD, PGD_FAR, AUTO = Attack("fgsm", 4), Attack("pgd", 4), Attack("pgd", 8), Attack("autoattack", 4)


def answers(right: int, total: int = 100, shift: int = 0) -> np.ndarray:
    """(total,) ones and zeros, `right` ones from place `shift` on."""
    return np.roll((np.arange(total) < right).astype(float), shift)


def test_attacks_that_grow_stronger_are_believed() -> None:
    assert violations({FGSM: answers(50), PGD: answers(40), PGD_FAR: answers(10), AUTO: answers(39)}) == []
    refuse([], 0.5)
    refuse([], None)


def test_a_weaker_attack_where_a_stronger_one_is_due_is_recorded_with_its_odds() -> None:
    (found,) = violations({FGSM: answers(40), PGD: answers(44, shift=2)})
    lost, gained = 2, 6  # places 0-1 fall, 40-45 rise
    p = sum(comb(lost + gained, k) for k in range(gained, lost + gained + 1)) / 2 ** (lost + gained)
    assert found == {
        "weaker": "fgsm-4",
        "stronger": "pgd-4",
        "images": 100,
        "top1_weaker": 40.0,
        "top1_stronger": 44.0,
        "p": pytest.approx(p),
    }
    refuse([found], 0.0)  # luck


@pytest.mark.parametrize(("weaker", "stronger"), [(FGSM, PGD), (PGD, PGD_FAR), (PGD, AUTO)])
def test_a_violation_beyond_luck_stops(weaker: Attack, stronger: Attack) -> None:
    found = violations({weaker: answers(40), stronger: answers(47)})  # 7 of 7 by luck: 1 in 128
    with pytest.raises(
        BackboneError, match=f"expected {stronger.name} to be no weaker.*47.0 against 40.0 of 100 images"
    ):
        refuse(found, 0.0)
    refuse(violations({weaker: answers(40), stronger: answers(46)}), 0.0)  # 1 in 64


def test_what_is_not_asked_under_both_is_not_compared() -> None:
    some = answers(47)
    some[40:] = np.nan
    assert violations({PGD: answers(40), AUTO: some}) == []


def test_one_gradient_may_lead_worse_the_farther_it_is_followed() -> None:
    assert violations({Attack("fgsm", 1): answers(10), Attack("fgsm", 4): answers(60)}) == []


def test_no_gradient_at_all_stops() -> None:
    with pytest.raises(BackboneError, match="gradient of exactly 0 for every image"):
        refuse([], 1.0)
    refuse([], 0.99)
