"""The pages, from templates that escape whatever they are given."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from benchmark.errors import ResultError
from benchmark.metrics.names import definition_of
from benchmark.runner.provenance import code_version
from leaderboard.comparability import conflicts
from leaderboard.published.match import Comparison, contradicted
from leaderboard.ranking import AGGREGATES, Scores, aggregate, rank_test, rankable, scores_of
from leaderboard.sections import sections_of
from leaderboard.site import plots
from leaderboard.site.board import Board, BoardColumn, BoardModel
from leaderboard.site.details import column_chart, detail_charts
from leaderboard.site.payload import common_place, script_json


def environment() -> Environment:
    """The templates; a name that a page does not get is an error, not a blank."""
    found = Environment(
        loader=PackageLoader("leaderboard.site"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    found.filters["figure"] = lambda value, digits=2: f"{value:,.{digits}f}"
    found.filters["without_folders"] = without_folders
    found.filters["sections"] = sections_of
    found.filters["signed"] = lambda value: f"{value:+.2f}"
    found.filters["script"] = lambda value: Markup(script_json(value))
    found.globals["version"] = code_version()
    return found


@dataclass(frozen=True)
class Pages:
    """Renders the pages of a board: path -> HTML."""

    board: Board
    comparisons: Sequence[Comparison]
    published: bool
    templates: Environment

    def all(self) -> Iterator[tuple[str, str]]:
        """Every page, the first one first."""
        yield "index.html", self._index()
        yield "ranking.html", self._ranking()
        yield "compare.html", self._page("compare.html", "Compare", radar=plots.radar(), untested=self.board.untested)
        yield "tasks.html", self._tasks()
        for column in self.board.columns:
            yield f"tasks/{column.slug}.html", self._task(column)
        for model in self.board.models:
            yield f"models/{model.slug}.html", self._model(model)

    def _page(self, template: str, heading: str, root: str = "", **values: Any) -> str:
        page = self.templates.get_template(template)
        return page.render(heading=heading, title=self.board.title, root=root, here=template, **values)

    def _index(self) -> str:
        board = self.board
        return self._page(
            "index.html",
            board.title,
            models=len(board.models),
            columns=len(board.columns),
            figures=sum(len(column.column.cells) for column in board.columns),
            recomputed=sum(len(column.pairs.models) for column in board.columns),
            winners=sum(column.winner is not None for column in board.columns),
            failed=sum(entry.result.status == "failed" for entry in board.entries),
            published=self.published,
            contradicted=contradicted(self.comparisons),
            pages=[(model.name, model_page(model)) for model in board.models],
        )

    def _ranking(self) -> str:
        board = self.board
        families = list(dict.fromkeys(column.family for column in board.columns))
        parts = [self._part("all columns", board.columns)]
        if len(families) > 1:
            parts += [self._part(name, [c for c in board.columns if c.family == name]) for name in families]
        place = common_place(board)
        fronts, gain = self._fronts(place)
        return self._page("ranking.html", "Ranking", parts=parts, fronts=fronts, gain=gain, place=place)

    def _part(self, name: str, columns: Sequence[BoardColumn]) -> dict[str, Any]:
        """One table of aggregates with its pictures; a problem where nothing can be ranked."""
        names = [model.name for model in self.board.models]
        ranked = rankable([column.column for column in columns], names)
        try:
            scores = scores_of([column.column for column in columns], ranked)
        except ResultError as error:
            return {"name": name, "problem": f"Nothing to rank: {error}"}
        pages = {model.name: model_page(model) for model in self.board.models}
        found = [aggregate(scores, one) for one in AGGREGATES]
        order = sorted(range(len(ranked)), key=lambda row: found[0].values[row])
        rows = [
            {"name": ranked[row], "page": pages[ranked[row]], "cells": [_aggregate(one, row) for one in found]}
            for row in order
        ]
        test = rank_test(scores)
        whole = len(scores.models) > 2 and len(scores.columns) > 1
        return {
            "name": name,
            "problem": None,
            "columns": scores.columns,
            "left_out": scores.left_out,
            "models_out": [model for model in names if model not in ranked],
            "aggregates": found,
            "rows": rows,
            "friedman": None if test is None else "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.2g}",
            "shown": plots.SHOWN,
            "distance": None if test is None else test.critical_difference,
            "diagram": None if test is None else plots.critical_difference(scores, test),
            "agreement": plots.agreement(scores) if whole else None,
        }

    def _fronts(self, place: str | None) -> tuple[list[plots.Spec], str]:
        """The mean normalised score against each cost that two models or more have."""
        columns = [column.column for column in self.board.columns]
        names = rankable(columns, [model.name for model in self.board.models])
        try:
            scores: Scores = scores_of(columns, names)
        except ResultError:
            return [], ""
        values = dict(zip(names, aggregate(scores, "mean normalised").values.tolist(), strict=True))
        titles = {"params": "parameters, millions", "macs": "multiply-adds per image, billions", "rate": "images/s"}
        found = []
        for cost, title in titles.items():
            points = [
                (model.name, model.record.arch, value, values[model.name])
                for value, model in plots.gains(self.board, cost, place)
                if value is not None and model.name in values
            ]
            if len({point[2] for point in points}) > 1:  # one cost for all is no choice
                found.append(plots.front(points, title, "mean normalised score"))
        return found, f"the mean over {len(scores.columns)} columns, 0 for the worst of a column and 100 for its best"

    def _tasks(self) -> str:
        pages = {model.name: model_page(model) for model in self.board.models}
        rows = []
        for column in self.board.columns:
            best = next(iter(column.figures))
            values, result = column.column.values(best), column.example
            rows.append(
                {
                    "family": column.family, "label": column.label, "page": task_page(column),
                    "protocol": result.protocol.name, "paper": result.protocol.paper,
                    "selection": result.selection.how, "n": f"{values[0].n:,}", "models": len(column.column.cells),
                    "best": best, "best_page": pages[best], "clear": column.winner is not None,
                    "value": column.figures[best].value,
                }
            )  # fmt: skip
        return self._page("tasks.html", "Tasks", rows=rows)

    def _task(self, column: BoardColumn) -> str:
        result = column.example
        models = {model.name: model for model in self.board.models}
        rows = [_row(column, models[name]) for name in column.figures]
        definition = definition_of(column.column.metric)
        key = (result.data.name, result.task, column.column.metric)
        rivals = [
            {"label": other.label, "page": quote(f"{other.slug}.html"), "conflicts": _conflicts(column, other)}
            for other in self.board.columns
            if other is not column and (other.example.data.name, other.example.task, other.column.metric) == key
        ]
        return self._page(
            "task.html",
            column.label,
            root="../",
            label=column.label,
            result=result,
            settings=sorted(result.protocol.settings.items()),
            metric=column.column.metric,
            meaning=definition.summary,
            higher=definition.higher_is_better,
            notices=result.data.notices,
            spread=plots.spread(column),
            chart=column_chart(column),
            rows=rows,
            failed=sorted(column.column.failed),
            rivals=rivals,
        )

    def _model(self, model: BoardModel) -> str:
        rows = []
        for column in self.board.columns:
            found = column.figures.get(model.name)
            if found is None:
                continue
            result = column.column.cells[model.name][0].result
            rows.append(
                {
                    "label": column.label, "page": f"../{task_page(column)}", "protocol": result.protocol.name,
                    "paper": result.protocol.paper, "value": found.value, "low": found.low, "high": found.high,
                    "n": result.metric().n, "place": found.place, "of": len(column.column.cells),
                    "selection": result.selection.how, "winner": column.winner == model.name,
                }
            )  # fmt: skip
        return self._page(
            "model.html",
            model.name,
            root="../",
            record=model.record,
            facts=_facts(model),
            link=_link(model.record.link),
            rows=rows,
            failures=[
                f"{entry.result.task} on {entry.result.data.name}: {entry.result.error.message}"
                for entry in model.entries
                if entry.result.error is not None
            ],
            published=[one for one in self.comparisons if one.model == model.name],
            charts=detail_charts(model.entries),
            entries=model.entries,
        )


def without_folders(text: str) -> str:
    """A path or source with the folders of somebody's disk taken out: they are nobody else's business."""
    return re.sub(r"(?<![\w:/])/(?:[^/?,\s]+/)+|(?<=:)/(?:[^/?,\s]+/)+", "…/", text)


def model_page(model: BoardModel) -> str:
    """Its address from the first page."""
    return quote(f"models/{model.slug}.html")


def task_page(column: BoardColumn) -> str:
    """Its address from the first page."""
    return quote(f"tasks/{column.slug}.html")


def _aggregate(one: Any, row: int) -> dict[str, float | None]:
    value, low, high = float(one.values[row]), float(one.low[row]), float(one.high[row])
    return {"value": value, "half": None if math.isnan(low) else max(high - value, value - low)}


def _row(column: BoardColumn, model: BoardModel) -> dict[str, Any]:
    best = next(iter(column.figures))
    found, first = column.figures[model.name], column.figures[best]
    values = column.column.values(model.name)
    pairs = column.pairs
    apart = "not tested"
    if best in pairs.models and model.name in pairs.models:
        p = float(pairs.p_value[pairs.models.index(best), pairs.models.index(model.name)])
        apart = f"{'yes' if p < 0.05 else 'no'} (p {'< 0.001' if p < 0.001 else f'= {p:.2g}'})"
    return {
        "name": model.name, "page": f"../{model_page(model)}",
        "value": found.value, "low": found.low, "high": found.high,
        "n": values[0].n, "seeds": len(values), "behind": found.value - first.value, "apart": apart,
        "winner": column.winner == model.name,
    }  # fmt: skip


def _conflicts(column: BoardColumn, other: BoardColumn) -> str:
    return "; ".join(map(str, conflicts(column.example, other.example)))


def _facts(model: BoardModel) -> list[tuple[str, str]]:
    """What there is to know of a model, in the order in which people ask."""
    record = model.record
    pairs = [
        ("Method", record.method),
        ("Pre-training data", record.pretraining_data),
        ("Epochs", record.epochs),
        ("Architecture", record.arch),
        ("Parameters", f"{record.params / 1e6:,.2f} M"),
        ("Multiply-adds", None if record.macs is None else f"{record.macs / 1e9:,.2f} G per image"),
        (
            "Throughput",
            "; ".join(f"{rate:,.0f} images/s on {where}" for where, rate in model.throughput.items()) or None,
        ),
        ("Checkpoint", without_folders(record.spec)),
        ("Layout", record.layout),
        ("Entry of the file", record.key),
        ("Weights hash", record.weights_hash),
        ("File SHA-256", record.file_sha256),
        ("Features", f"{record.default_representation} (of {', '.join(record.representations)})"),
        ("Preprocessing", ", ".join(f"{name} {_plain(value)}" for name, value in record.preprocessing.items())),
        ("Licence", record.licence),
        *((name, value) for name, value in sorted(record.groups.items())),
    ]
    return [(name, str(value)) for name, value in pairs if value is not None]


def _plain(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _link(text: str | None) -> dict[str, Any] | None:
    """A link that may be followed only where it leads to a page: a card can say anything."""
    if not text:
        return None
    return {"text": text, "safe": urlsplit(text).scheme in ("http", "https")}
