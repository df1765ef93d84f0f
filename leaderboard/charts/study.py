"""A done result with its predictions, read when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from benchmark.errors import ResultError
from benchmark.metrics.registry import get_scorer
from benchmark.results.schema import MetricValue, Result
from benchmark.results.store import read_predictions
from leaderboard.charts.chart import LINES
from leaderboard.tables import Entry

_AGAIN = "run the cell again with --overwrite always"


@dataclass(frozen=True)
class Study:
    """A result that can be drawn.

    Attributes:
        entry: the result and where it lies.
    """

    entry: Entry

    @property
    def result(self) -> Result:
        """The result."""
        return self.entry.result

    @property
    def model(self) -> str:
        """What the result calls its model."""
        return self.result.model.name

    @property
    def n(self) -> int:
        """Images: those that were asked about as they are, or else those behind the headline."""
        return (self.figures.get("top1") or self.result.metric()).n

    @property
    def figures(self) -> dict[str, MetricValue]:
        """By name, as the result's scorer gave them."""
        return {metric.name: metric for metric in self.result.metrics}

    def figure(self, name: str) -> MetricValue:
        """One of them.

        Raises:
            ResultError: the result has none of that name, so it is not what its scorer makes.
        """
        if name not in self.figures:
            found = ", ".join(self.figures) or "none"
            raise ResultError(f"a figure {name!r} of scorer {self.result.scorer.name!r}", found, _AGAIN)
        return self.figures[name]

    @cached_property
    def table(self) -> pa.Table:
        """The stored predictions.

        Raises:
            ResultError: they are missing, not those of the result, or of a scorer that is not known.
        """
        get_scorer(self.result.scorer.name, self.result.scorer.version)
        return read_predictions(self.entry.root, self.result)


def with_lines(studies: Sequence[Study]) -> tuple[Sequence[Study], str]:
    """The studies that get a line each, in their order, and a sentence on those that do not.

    The best by the headline get one. Their order is kept so that a model has one colour in all pictures of a folder.
    """
    higher = studies[0].result.metric().higher_is_better
    ordered = sorted(studies, key=lambda study: study.result.metric().value, reverse=higher)
    best = {id(study) for study in ordered[:LINES]}
    shown = [study for study in studies if id(study) in best]
    if len(shown) == len(studies):
        return shown, ""
    others = ", ".join(study.model for study in ordered[LINES:])
    return shown, f"The best {LINES} of {len(ordered)} models; without a line: {others}."
