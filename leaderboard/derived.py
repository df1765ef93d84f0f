"""Figures of a board rather than of a result: what a column's models say of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from benchmark.errors import RequestError, nearest
from benchmark.metrics.corruptions import FIFTEEN
from benchmark.metrics.names import with_variant
from benchmark.results.schema import Result
from leaderboard.effective import NAME as EFFECTIVE
from leaderboard.effective import effective_robustness

Cells = Mapping[str, Sequence[Result]]
"""Model -> its results of one column, one per seed."""


def derived(cells: Cells, reference: str | None = None) -> dict[str, dict[str, float]]:
    """Metric -> model -> figure, where the column has such a metric.

    Args:
        cells: of a column.
        reference: the model over whose errors those under corruptions are given.
    """
    scorers = {result.scorer.name for results in cells.values() for result in results}
    found: dict[str, dict[str, float]] = {}
    if scorers == {"shift"}:
        points = {model: (_mean(results, "top1@clean"), _mean(results, "top1")) for model, results in cells.items()}
        found[EFFECTIVE] = effective_robustness(points)
    if scorers and scorers <= {"corruptions", "imagenet-c"} and reference is not None and reference in cells:
        found[with_variant("mCE", reference)] = _over(cells, reference)
    return {name: values for name, values in found.items() if values}


def check_reference(reference: str | None, columns: Sequence[Cells]) -> None:
    """Stops where a model that errors are to be given over has none.

    Raises:
        RequestError: no result of it under corruptions.
    """
    there = {
        model
        for cells in columns
        for model, results in cells.items()
        if {result.scorer.name for result in results} <= {"corruptions", "imagenet-c"}
    }
    if reference is not None and reference not in there:
        todo = nearest(reference, there) if there else "run the suite robustness first"
        raise RequestError("--reference: a model with errors under corruptions", repr(reference), todo)


def _over(cells: Cells, reference: str) -> dict[str, float]:
    """What ImageNet-C defines as mCE, with a model of the board in AlexNet's place."""
    errors = {
        model: [_mean(results, with_variant("error", name)) for name in FIFTEEN] for model, results in cells.items()
    }
    base = errors[reference]
    if not all(base):
        found = f"none under {FIFTEEN[base.index(0)]}"
        raise RequestError(f"errors of {reference} under every corruption", found, "choose another --reference")
    return {
        model: 100 * fmean(mine / theirs for mine, theirs in zip(values, base, strict=True))
        for model, values in errors.items()
    }


def _mean(results: Sequence[Result], metric: str) -> float:
    return fmean(result.metric(metric).value for result in results)
