"""The table that a person reads in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from leaderboard.best import clear_winner
from leaderboard.tables import Column, Entry, mean_over_seeds, spread_over_seeds, wide_columns


def render(entries: Sequence[Entry]) -> RenderableType:
    """One model: a row per metric, with intervals. Several: a row per model, a column per headline."""
    models = list(dict.fromkeys(entry.result.model.name for entry in entries))
    failures = [_failure(entry) for entry in entries if entry.result.status == "failed"]
    body = _one_model(models[0], entries) if len(models) == 1 else _several_models(models, entries)
    return Group(body, *failures)


def _failure(entry: Entry) -> Text:
    result = entry.result
    what = f"{result.model.name} · {result.task} · {result.data.name}"
    return Text.assemble(("failed ", "red"), f"{what}: {result.error.message if result.error else ''}")


def _one_model(model: str, entries: Sequence[Entry]) -> RenderableType:
    table = Table(title=escape(model), title_justify="left")
    for name in ("dataset", "task", "protocol", "metric"):
        table.add_column(name)
    for name in ("value", "95% interval", "± draws", "n"):
        table.add_column(name, justify="right")
    table.add_column("selection")
    for entry in entries:
        result = entry.result
        for metric in result.metrics:
            style = "bold" if metric.name == result.headline else "dim"
            mark = " (paper)" if result.protocol.paper else ""
            seed = f" s{result.seed}" if len({e.result.seed for e in entries}) > 1 else ""
            table.add_row(
                escape(result.data.name),
                result.task,
                result.protocol.name + mark + seed,
                metric.name + ("" if metric.higher_is_better else " ↓"),
                f"{metric.value:.2f}",
                escape(f"[{metric.ci_low:.2f}, {metric.ci_high:.2f}]"),
                "" if metric.spread is None else f"{metric.spread:.2f}",
                f"{metric.n:,}",
                result.selection.how,
                style=style,
            )
    return table


def _several_models(models: Sequence[str], entries: Sequence[Entry]) -> RenderableType:
    columns = wide_columns(entries)
    table = Table()
    table.add_column("model")
    winners = {}
    for column in columns:
        arrow = " ↓" if column.higher_is_better is False else ""
        table.add_column(escape(column.label.replace("/", "\n", 1)) + arrow, justify="right")
        winners[column.label] = clear_winner(column)
    for model in models:
        cells = [_cell(column, model, winners[column.label] == model) for column in columns]
        table.add_row(escape(model), *cells)
    note = "± half of the 95% interval over test samples · ★ better than every other model (paired test, 5%, Holm)"
    return Group(table, Text(note, style="dim"))


def _cell(column: Column, model: str, winner: bool) -> Text:
    values = column.values(model)
    if not values:
        return Text("failed" if model in column.failed else "", style="red")
    half = max((value.ci_high - value.ci_low) / 2 for value in values)
    spread = spread_over_seeds(values)
    text = Text(f"{mean_over_seeds(values):.1f}", style="bold" if winner else "")
    text.append(f" ±{half:.1f}", style="dim")
    if spread is not None and len(values) > 1:
        text.append(f" (seeds {spread:.1f})", style="dim")
    text.append(" ★" if winner else "  ")
    return text
