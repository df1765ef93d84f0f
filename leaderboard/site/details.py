"""Pictures of what a result keeps in its `details` and predictions, beside its figures.

A task that wants one stores it under the names that follow:

* `curve`: the selection curve, a list of `{lambda, score}` (score in percent, None where it was not computed).
* `loss_curve`: `{step: [...], loss: [...]}` of a trained head.
* `corruption_errors`: corruption -> errors in percent, one per severity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.results.schema import Result
from leaderboard.site import plots
from leaderboard.site.reliability import reliability_points
from leaderboard.site.risk import risk_points
from leaderboard.tables import Entry


@dataclass(frozen=True)
class DetailPlot:
    """A picture on a model's page."""

    title: str
    spec: plots.Spec
    caption: str
    square: bool = False


def detail_plots(entries: Sequence[Entry]) -> list[DetailPlot]:
    """The pictures of a model's results, in their order; several seeds of a cell show the first one's."""
    found = []
    seen: set[tuple[str, str, str]] = set()
    for entry in entries:
        result = entry.result
        cell = (result.data.name, result.task, result.protocol.name)
        if result.status == "failed" or cell in seen:
            continue
        seen.add(cell)
        found += _of_details(result)
        points = reliability_points(entry)
        if points:
            caption = "How often the model is right when it is that sure: on the diagonal it means what it says."
            found.append(DetailPlot(f"Calibration: {_cell(result)}", plots.reliability(points), caption, square=True))
        risks = risk_points(entry)
        if risks:
            caption = "Error among the images that the model is surest of, when it answers so many of them."
            spec = plots.curve(risks, "images answered, %", "error, %", dots=False)
            found.append(DetailPlot(f"Selective risk: {_cell(result)}", spec, caption))
    return found


def _of_details(result: Result) -> list[DetailPlot]:
    found = []
    details = result.details
    curve = [
        {"x": point["lambda"], "y": point["score"]}
        for point in _dictionaries(details.get("curve"))
        if _positive(point.get("lambda")) and _number(point.get("score"))
    ]
    if len(curve) > 1:
        caption = f"Score on {result.selection.how} for each penalty whose score was computed; the best was taken."
        spec = plots.curve(curve, "lambda", "score, %", log=True)
        found.append(DetailPlot(f"Selection: {_cell(result)}", spec, caption))
    losses = details.get("loss_curve")
    if isinstance(losses, dict):
        steps, loss = losses.get("step"), losses.get("loss")
        if isinstance(steps, list) and isinstance(loss, list) and len(steps) == len(loss) > 1:
            points = [{"x": x, "y": y} for x, y in zip(steps, loss, strict=True) if _number(x) and _number(y)]
            spec = plots.curve(points, "step", "loss")
            found.append(DetailPlot(f"Training: {_cell(result)}", spec, "Loss of the head while it was trained."))
    errors = details.get("corruption_errors")
    if isinstance(errors, dict):
        rows = [
            {"x": str(severity), "y": str(name), "value": value}
            for name, values in errors.items()
            if isinstance(values, list)
            for severity, value in enumerate(values, 1)
            if _number(value)
        ]
        if rows:
            spec = plots.heat_map(rows, "severity", "corruption", "error, %")
            found.append(DetailPlot(f"Corruptions: {_cell(result)}", spec, "Error by corruption and severity."))
    return found


def _cell(result: Result) -> str:
    return f"{result.data.name}, {result.task}, {result.protocol.name}"


def _dictionaries(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0
