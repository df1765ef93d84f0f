"""The rule of the gate: by hand, and its error rates by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.metrics.intervals import resampled_means
from benchmark.metrics.significance import holm, mcnemar
from leaderboard.gate.verdict import CellVerdict, Verdict, decide
from leaderboard.statistics import Difference

ALPHA, MARGIN = 0.05, 0.5


def difference(delta: float, half: float, n: int = 1000) -> Difference:
    return Difference("top1", delta, delta - half, delta + half, 0.5, n, "mcnemar")


@pytest.mark.parametrize(("delta", "half", "p", "verdict"), [
    (+2.0, 0.5, 0.001, "improved"),
    (+0.1, 0.2, 0.400, "equal"),
    (-0.1, 0.2, 0.400, "equal"),
    (-0.3, 0.1, 0.001, "equal"),  # certain, and smaller than the margin
    (-2.0, 0.5, 0.001, "regressed"),
    (-0.6, 0.4, 0.010, "regressed"),
    (-0.3, 0.9, 0.500, "inconclusive"),
    (+0.3, 0.9, 0.500, "inconclusive"),
])  # fmt: skip
def test_verdicts(delta: float, half: float, p: float, verdict: Verdict) -> None:
    assert decide(difference(delta, half), p, MARGIN, ALPHA, True)[0] == verdict
    assert decide(difference(-delta, half), p, MARGIN, ALPHA, False)[0] == verdict  # lower is better


def test_the_samples_that_would_settle_a_cell() -> None:
    # Half-width 0.9 at 1000 samples; zero is 0.3 away and the margin 0.2: at 0.3 it settles, so 1000 * 3^2 samples.
    assert decide(difference(-0.3, 0.9), 0.5, MARGIN, ALPHA, True) == ("inconclusive", 9_000)
    # A gain of 0.4: the margin is 0.9 away.
    assert decide(difference(+0.4, 1.8), 0.5, MARGIN, ALPHA, True) == ("inconclusive", 4_000)


def simulated(rng: np.random.Generator, n: int, drop: float, discordant: float) -> Difference:
    """A pair of models of accuracies that differ by `drop` points, judged differently on that share of samples."""
    lost = (discordant + drop / 100.0) / 2.0
    change = rng.choice([-100.0, 0.0, 100.0], n, p=[lost, 1.0 - discordant, discordant - lost])[:, None]
    delta = float(change.mean())
    noise = resampled_means(change, 1000, int(rng.integers(1 << 30)))[:, 0]
    low, high = np.quantile(noise, (0.025, 0.975))
    p_value = mcnemar(int((change < 0).sum()), int((change > 0).sum()))
    return Difference("top1", delta, float(low), float(high), p_value, n, "mcnemar")


def regressed(cells: list[Difference]) -> list[bool]:
    adjusted = holm([cell.p_value for cell in cells])
    return [
        decide(cell, p, MARGIN, ALPHA, True)[0] == "regressed" for cell, p in zip(cells, adjusted, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "cells"), [(200, 1), (2000, 1), (10_000, 1), (1000, 8)])
def test_without_a_difference_at_most_alpha_fail(n: int, cells: int) -> None:
    rng = np.random.default_rng(n + cells)
    runs = 600
    alarms = sum(any(regressed([simulated(rng, n, 0.0, 0.08) for _ in range(cells)])) for _ in range(runs))
    assert alarms / runs <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / runs) ** 0.5  # within the noise of 600 runs


def test_a_drop_of_a_point_at_ten_thousand_samples_is_caught() -> None:
    rng = np.random.default_rng(0)
    runs = 400
    caught = sum(regressed([simulated(rng, 10_000, 1.0, 0.06)])[0] for _ in range(runs))
    assert caught / runs >= 0.95


def test_a_certain_loss_within_the_margin_does_not_stop_a_release() -> None:
    rng = np.random.default_rng(1)
    found = [decide(simulated(rng, 1_000_000, 0.2, 0.06), 1e-6, MARGIN, ALPHA, True)[0] for _ in range(20)]
    assert set(found) == {"equal"}


@pytest.mark.parametrize(("verdict", "action", "outcome"), [
    ("regressed", "fail", "fail"), ("regressed", "warn", "warn"), ("missing", "fail", "fail"),
    ("not comparable", "fail", "fail"), ("inconclusive", "fail", "warn"), ("equal", "fail", "pass"),
    ("too few samples", "fail", "warn"), ("improved", "fail", "pass"), ("failed", "warn", "warn"),
])  # fmt: skip
def test_what_a_verdict_does_to_the_exit_code(verdict: Verdict, action: str, outcome: str) -> None:
    cell = CellVerdict("d/t", "t", "top1", verdict, "fail" if action == "fail" else "warn")
    assert cell.outcome == outcome
