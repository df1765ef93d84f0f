"""Recomputing every figure from its stored predictions, with the scorer that made it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from benchmark.errors import ResultError
from benchmark.metrics.registry import get_scorer
from benchmark.results.schema import MetricValue, Result
from benchmark.results.store import ResultStore, open_store, read_predictions, read_result

_TOLERANCE = 1e-9
"""Relative: scorers are deterministic, so only the last digits of a sum may differ between machines."""


@dataclass(frozen=True)
class Verdict:
    """One result file: reproduced (no problems), or what is wrong with it."""

    path: Path
    result: Result | None
    metrics: int
    problems: tuple[str, ...]


def verify_folder(root: Path) -> Iterator[Verdict]:
    """A verdict per stored result, in a stable order.

    Raises:
        ResultError: the folder has no results at all.
    """
    store = open_store(root)
    for path in sorted((root / "results").glob("*/*/*.json")):
        yield _verdict(store, path)


def _verdict(store: ResultStore, path: Path) -> Verdict:
    try:
        result = read_result(path)
    except ResultError as error:
        return Verdict(path, None, 0, (str(error),))
    if result.status == "failed":
        return Verdict(path, result, 0, ())
    try:
        problems = problems_of(result, read_predictions(store.root, result))
    except ResultError as error:
        problems = [str(error)]
    return Verdict(path, result, len(result.metrics), tuple(problems))


def problems_of(result: Result, table: pa.Table) -> list[str]:
    """What differs between a result's figures and those that its scorer gives for its predictions; empty if nothing.

    Raises:
        ResultError: an unknown scorer, or predictions that it cannot read.
    """
    problems = []
    scorer = get_scorer(result.scorer.name, result.scorer.version)
    again = {metric.name: MetricValue(**asdict(metric)) for metric in scorer(table)}
    stored = {metric.name: metric for metric in result.metrics}
    problems += [f"{name}: stored, and not among the recomputed" for name in stored.keys() - again.keys()]
    problems += [f"{name}: recomputed, and not stored" for name in again.keys() - stored.keys()]
    for name in stored.keys() & again.keys():
        problems += _differences(stored[name], again[name])
    return sorted(problems)


def _differences(stored: MetricValue, again: MetricValue) -> list[str]:
    found = []
    for field, before in stored.model_dump().items():
        now = getattr(again, field)
        same = (
            math.isclose(before, now, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
            if isinstance(before, float) and isinstance(now, float)
            else before == now
        )
        if not same:
            found.append(f"{stored.name} {field}: stored {before}, recomputed {now}")
    return found


def render(verdicts: Sequence[Verdict]) -> RenderableType:
    """A line per result that is not reproduced, and a count."""
    lines = [
        Text.from_markup(f"[red]not reproduced[/] {escape(str(verdict.path))}: {escape(problem)}")
        for verdict in verdicts
        for problem in verdict.problems
    ]
    good = [verdict for verdict in verdicts if not verdict.problems]
    figures = sum(verdict.metrics for verdict in good)
    lines.append(
        Text(f"{len(good)} of {len(verdicts)} results reproduced from their predictions ({figures:,} figures)")
    )
    return Group(*lines)
