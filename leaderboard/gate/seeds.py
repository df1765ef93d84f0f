"""Which seeds of two sides are compared, and what has to be said about it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from leaderboard.statistics import Difference


@dataclass(frozen=True)
class Seeds:
    """The seeds that a comparison takes from each side.

    Attributes:
        baseline, candidate: seeds in ascending order; equal where the sides share any.
        unused: seeds that only one side has, where others are shared.
    """

    baseline: tuple[int, ...]
    candidate: tuple[int, ...]
    unused: tuple[int, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both sides ran them, so that their random draws are the same."""
        return self.baseline == self.candidate

    def note(self, difference: Difference) -> str:
        """What a reader has to know of the seeds; empty where both sides have the same."""
        if self.same:
            return f"seed {_list(self.unused)} on one side only, left out" if self.unused else ""
        said = f"seed {_list(self.baseline)} against {_list(self.candidate)}"
        if difference.test == "unpaired":
            return f"{said}: other episodes, compared unpaired"
        if difference.draw_error is None:
            return f"{said}: paired by sample; what a seed alone changes is not in the interval"
        return f"{said}: paired by sample, the draws' own error of {difference.draw_error:.2f} included"


def choose_seeds(baseline: Collection[int], candidate: Collection[int]) -> Seeds:
    """The shared seeds, which leave the least to chance; every seed of each side where they share none."""
    shared = tuple(sorted(set(baseline) & set(candidate)))
    if shared:
        return Seeds(shared, shared, tuple(sorted(set(baseline) ^ set(candidate))))
    return Seeds(tuple(sorted(baseline)), tuple(sorted(candidate)))


def _list(seeds: Collection[int]) -> str:
    return ", ".join(map(str, seeds))
