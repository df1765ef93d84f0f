"""The verdict on one cell, from a paired difference: a pure function of figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from leaderboard.gate.policy import Action
from leaderboard.statistics import Difference

Verdict = Literal[
    "improved", "equal", "inconclusive", "regressed", "missing", "failed", "not comparable", "too few samples", "new"
]
_Z = 1.959963984540054  # of a 95% interval
# What each verdict does where the policy of its task says `fail`: the rest passes.
_FAILS: frozenset[Verdict] = frozenset({"regressed", "missing", "failed", "not comparable"})
_WARNS: frozenset[Verdict] = frozenset({"inconclusive", "too few samples"})


@dataclass(frozen=True)
class CellVerdict:
    """What the gate says about one cell.

    Attributes:
        cell: `dataset/task`, with the protocol where a task has several.
        task: the task.
        metric: the headline.
        verdict: see `decide`.
        action: what the policy makes of a regression here.
        baseline, candidate: the headline on both sides (mean over the compared seeds); None where there is none.
        difference: candidate minus baseline, with interval and p-value; None where nothing could be compared.
        p_adjusted: Holm's over all compared cells.
        margin: the accepted loss.
        higher_is_better: direction of the headline.
        needed: samples that would settle an inconclusive cell, if the difference stays what it is; None elsewhere.
        note: why there is no comparison, or a remark; for people.
    """

    cell: str
    task: str
    metric: str
    verdict: Verdict
    action: Action
    baseline: float | None = None
    candidate: float | None = None
    difference: Difference | None = None
    p_adjusted: float | None = None
    margin: float = 0.0
    higher_is_better: bool = True
    needed: int | None = None
    note: str = ""

    @property
    def outcome(self) -> Literal["pass", "warn", "fail"]:
        """What it does to the exit code."""
        if self.verdict in _FAILS:
            return "fail" if self.action == "fail" else "warn"
        return "warn" if self.verdict in _WARNS else "pass"


def decide(
    difference: Difference, p_adjusted: float, margin: float, alpha: float, higher_is_better: bool
) -> tuple[Verdict, int | None]:
    """(verdict, samples that would settle an inconclusive one).

    * `improved`: better, and significantly so.
    * `regressed`: worse, significantly so, and not shown to be within the margin.
    * `equal`: the whole 95% interval is above minus the margin (non-inferiority), whatever the p-value.
    * `inconclusive`: neither.

    So a cell without a true difference is called regressed at most alpha of the time, over all cells (Holm), and a
    loss that is certain but smaller than the margin does not stop a release.
    """
    sign = 1.0 if higher_is_better else -1.0
    gain = sign * difference.delta
    worst = min(sign * difference.ci_low, sign * difference.ci_high)
    significant = p_adjusted < alpha
    if significant and gain > 0:
        return "improved", None
    if worst > -margin:
        return "equal", None
    if significant and gain < 0:
        return "regressed", None
    return "inconclusive", _needed(difference, gain, margin)


def _needed(difference: Difference, gain: float, margin: float) -> int | None:
    """Samples at which the interval would clear minus the margin, or zero, with the difference that was seen.

    None where none would: the differences are nil, or random draws, of which samples bring no more, add to them.
    """
    half = (difference.ci_high - difference.ci_low) / 2.0
    distance = max(gain + margin, -gain)
    if half <= 0 or distance <= 0 or difference.draw_error:
        return None
    return math.ceil(difference.n * (half / distance) ** 2)
