"""The models of a table in one order: what a person reads of `ranking`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from leaderboard.families import family_of_column
from leaderboard.ranking import AGGREGATES, Scores, aggregate, correlations, pareto, rank_test, rankable, scores_of
from leaderboard.tables import Column, Entry, wide_columns

SHOWN = 12  # columns of the table of correlations


def render(entries: Sequence[Entry]) -> RenderableType:
    """Aggregates of every model with intervals, groups that do not differ, and how far the columns agree.

    Raises:
        ResultError: fewer than two models, or no column that two of them have.
    """
    columns = wide_columns(entries)
    models = list(dict.fromkeys(entry.result.model.name for entry in entries))
    params = {entry.result.model.name: entry.result.model.params for entry in entries}
    families = list(dict.fromkeys(family_of_column(column) for column in columns))
    parts = _part("", columns, models, params)
    if len(families) > 1:
        for family in families:
            mine = [column for column in columns if family_of_column(column) == family]
            if len(mine) > 1:
                parts += _part(family, mine, models, params)
    return Group(*parts)


def _part(title: str, columns: Sequence[Column], models: Sequence[str], params: dict[str, int]) -> list[RenderableType]:
    """The ranking over all columns, or over those of one kind of transfer."""
    ranked = rankable(columns, models)
    scores = scores_of(columns, ranked)
    notes = _notes(scores)
    if len(ranked) < len(models):
        notes.append(f"not ranked, because they lack too much: {', '.join(m for m in models if m not in ranked)}")
    heading: list[RenderableType] = [Text(title, style="bold")] if title else []
    return [*heading, _aggregates(scores, params), Text("\n".join(notes), style="dim"), *_agreement(scores)]


def _aggregates(scores: Scores, params: dict[str, int]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("model", overflow="fold", min_width=min(24, 2 + max(len(model) for model in scores.models)))
    table.add_column("params", justify="right", no_wrap=True)
    found = {name: aggregate(scores, name) for name in AGGREGATES}
    for name, one in found.items():
        table.add_column(Text(name + ("" if one.higher_is_better else " ↓")), justify="right")
    sizes = [params[model] for model in scores.models]
    front = pareto(sizes, found["Borda %"].values.tolist())
    for row in np.argsort(found["mean rank"].values, kind="stable"):
        cells = []
        for one in found.values():
            digits = 1 if one.values.max() > 10 else 2
            cell = Text(f"{one.values[row]:.{digits}f}", no_wrap=True)
            if not math.isnan(one.low[row]):
                half = max(one.high[row] - one.values[row], one.values[row] - one.low[row])
                cell.append(f" ±{half:.{digits}f}", style="dim")
            cells.append(cell)
        model = Text(scores.models[row])
        model.append(" ◆" if front[row] else "", style="bold")
        table.add_row(model, f"{sizes[row] / 1e6:.1f} M", *cells)
    return table


def _notes(scores: Scores) -> list[str]:
    lines = [
        "Borda: the share of the other models that are beaten · win rate: the share of columns in which it is the best",
        f"over {len(scores.columns)} columns that all models have; ± the wider half of the 95% interval over columns · "
        "◆ no smaller model has as high a Borda score",
    ]
    if scores.left_out:
        lines.append(f"left out, because a model lacks them: {', '.join(scores.left_out)}")
    test = rank_test(scores)
    if test is not None:
        lines.append(
            f"Friedman: p = {test.p_value:.2g} that all models are equal; mean ranks nearer than "
            f"{test.critical_difference:.2f} do not differ at 5% (Nemenyi: what these columns say of further tasks; "
            "a ★ speaks of further images of one column)"
        )
        together = [" = ".join(group) for group in test.groups if len(group) > 1]
        lines.append("not told apart: " + ("; ".join(together) if together else "none"))
    return lines


def _agreement(scores: Scores) -> list[RenderableType]:
    """Kendall's tau between columns, where there are enough models to speak of an order."""
    count = len(scores.columns)
    if len(scores.models) < 3 or not 2 <= count <= SHOWN:
        return []
    table = Table(title="Agreement of columns on the order (Kendall's tau)", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for index in range(count):
        table.add_column(str(index + 1), justify="right")
    tau = correlations(scores)
    for index, label in enumerate(scores.columns):
        row = ["" if math.isnan(value) else f"{value:+.2f}" for value in tau[index]]
        table.add_row(Text(f"{index + 1} {label}"), *row)
    return [table]
