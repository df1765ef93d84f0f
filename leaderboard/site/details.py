"""Charts of what a result keeps in its `details` and predictions, beside its figures.

A task that wants one stores it under the names that follow:

* `curve`: the selection curve, a list of `{lambda, score}` (score in percent, None where it was not computed).
* `loss_curve`: `{step: [...], loss: [...]}` of a trained head.

What the predictions of a robustness result hold is drawn as `leaderboard.charts` does it, and so is how sure any other
classifier may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmark.errors import ResultError
from benchmark.results.schema import Result
from leaderboard.charts import calibration
from leaderboard.charts.chart import Chart
from leaderboard.charts.kinds import KINDS
from leaderboard.charts.study import Study
from leaderboard.site import plots
from leaderboard.site.board import BoardColumn
from leaderboard.tables import Entry


def detail_charts(entries: Sequence[Entry]) -> list[Chart]:
    """The charts of a model's results, in their order; several seeds of a cell show the first one's."""
    found: list[Chart] = []
    seen: set[tuple[str, str, str]] = set()
    for entry in entries:
        result = entry.result
        cell = (result.data.name, result.task, result.protocol.name)
        if result.status == "failed" or cell in seen:
            continue
        seen.add(cell)
        charts = [*_of_details(result), *_of_predictions(Study(entry))]
        found += [replace(chart, title=f"{chart.title}: {', '.join(cell)}") for chart in charts]
    return found


def column_chart(column: BoardColumn) -> Chart | None:
    """The models of a column in one chart, first seeds; None where there is none to draw, or one model."""
    kind = KINDS.get(column.example.scorer.name)
    studies = [Study(entries[0]) for entries in column.column.cells.values()]
    if kind is None or len(studies) < 2:
        return None
    try:
        return kind.several(studies)
    except ResultError:  # a board of figures whose predictions are elsewhere
        return None


def _of_predictions(study: Study) -> Iterator[Chart]:
    kind = KINDS.get(study.result.scorer.name)
    try:
        if kind is not None:
            yield kind.one(study)
        elif "ece" in study.figures:
            chart = calibration.reliable(study)
            if chart is not None:
                yield chart
    except ResultError:  # a board of figures whose predictions are elsewhere
        return


def _of_details(result: Result) -> Iterator[Chart]:
    details = result.details
    curve = [
        {"x": point["lambda"], "y": point["score"]}
        for point in _dictionaries(details.get("curve"))
        if _positive(point.get("lambda")) and _number(point.get("score"))
    ]
    if len(curve) > 1:
        caption = f"Score on {result.selection.how} for each penalty whose score was computed; the best was taken."
        yield Chart("Selection", plots.curve(curve, "lambda", "score, %", log=True), caption, fixed=False)
    losses = details.get("loss_curve")
    if isinstance(losses, dict):
        steps, loss = losses.get("step"), losses.get("loss")
        if isinstance(steps, list) and isinstance(loss, list) and len(steps) == len(loss) > 1:
            points = [{"x": x, "y": y} for x, y in zip(steps, loss, strict=True) if _number(x) and _number(y)]
            caption = "Loss of the head while it was trained."
            yield Chart("Training", plots.curve(points, "step", "loss"), caption, fixed=False)


def _dictionaries(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0
