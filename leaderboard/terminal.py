"""The table that a person reads in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from benchmark.results.schema import Result
from leaderboard.blocks import Blocks
from leaderboard.effective import NAME as EFFECTIVE
from leaderboard.pairwise import clear_winner
from leaderboard.sections import sections_of
from leaderboard.tables import (
    Column,
    Entry,
    derived_label,
    derived_of,
    mean_over_seeds,
    spread_over_seeds,
    wide_columns,
)


def render(entries: Sequence[Entry], reference: str | None = None) -> RenderableType:
    """One model: a row per metric, with intervals. Several: a row per model, a column per headline.

    Args:
        entries: the results.
        reference: see `leaderboard.derived`.
    """
    models = list(dict.fromkeys(entry.result.model.name for entry in entries))
    failures = [_failure(entry) for entry in entries if entry.result.status == "failed"]
    body = _one_model(models[0], entries) if len(models) == 1 else _several_models(models, entries, reference)
    return Group(body, *failures)


def _failure(entry: Entry) -> Text:
    result = entry.result
    what = f"{result.model.name} · {result.task} · {result.data.name}"
    return Text.assemble(("failed ", "red"), f"{what}: {result.error.message if result.error else ''}")


def _one_model(model: str, entries: Sequence[Entry]) -> RenderableType:
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.result.status == "done":
            groups.setdefault((entry.result.data.name, entry.result.data.reported_split), []).append(entry)
    return Group(*(_one_dataset(f"{model} on {data}, split {split}", group) for (data, split), group in groups.items()))


def _one_dataset(title: str, entries: Sequence[Entry]) -> Table:
    """A heading per protocol (and seed), then its metrics in sections, the headline in bold."""
    drawn = any(metric.spread is not None for entry in entries for metric in entry.result.metrics)
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("protocol, metric", overflow="fold")
    for name in ("value", "95% interval", *(["± draws"] if drawn else []), "n"):
        table.add_column(name, justify="right", no_wrap=True)
    several = len({entry.result.seed for entry in entries}) > 1
    for entry in entries:
        result = entry.result
        table.add_row(Text(_heading(result, several), style="cyan"))
        for section in sections_of(result):
            if section.title:
                table.add_row(Text(f"  {section.title}", style="dim"))
            for metric in section.metrics:
                table.add_row(
                    f"  {'  ' if section.title else ''}{metric.name}" + ("" if metric.higher_is_better else " ↓"),
                    f"{metric.value:.2f}",
                    escape(f"[{metric.ci_low:.2f}, {metric.ci_high:.2f}]"),
                    *(["" if metric.spread is None else f"{metric.spread:.2f}"] if drawn else []),
                    f"{metric.n:,}",
                    style="bold" if metric.name == result.headline else "",
                )
        table.add_section()
    return table


def _heading(result: Result, with_seed: bool) -> str:
    parts = [result.protocol.name]
    if result.protocol.paper:
        parts.append("(paper)")
    if result.selection.how != "none":
        parts.append(f"selected on {result.selection.how} (n={result.selection.n:,})")
    if with_seed:
        parts.append(f"seed {result.seed}")
    return " ".join(parts)


def _several_models(models: Sequence[str], entries: Sequence[Entry], reference: str | None) -> RenderableType:
    columns = wide_columns(entries)
    said = {entry.result.model.name: _card(entry.result) for entry in entries}
    ordered = _best_first(models, columns)
    shown: list[tuple[Text, list[Text]]] = []
    board: dict[str, dict[str, dict[str, float]]] = {}
    for column in columns:
        winner, arrow = clear_winner(column), " ↓" if column.higher_is_better is False else ""
        heading = Text(column.label.replace("/", "\n") + arrow, justify="right")
        shown.append((heading, [_cell(column, model, winner == model) for model in ordered]))
        board[column.label] = derived_of(column, reference)
        for metric, values in board[column.label].items():
            label = derived_label(column, metric).replace("_", "\n").replace("/", "\n")
            cells = [Text(f"{values[model]:.1f}  " if model in values else "") for model in ordered]
            shown.append((Text(label, justify="right"), cells))
    names = [Text(model).append(f"\n{said[model]}" if said[model] else "", style="dim") for model in ordered]
    table = Blocks("model", names, shown)
    note = "± half of the 95% interval over test samples · ★ better than every other model (paired test, 5%, Holm)"
    if any(EFFECTIVE in figures for figures in board.values()):
        note += (
            "\neffective robustness: points above the trend of shifted over clean top-1, on logit scales (Taori 2020)"
        )
    if any(name != EFFECTIVE for figures in board.values() for name in figures):
        note += f"\nmCE@{reference}: errors over those of {reference}, mean over the fifteen corruptions"
    return Group(table, Text(note, style="dim"))


def _card(result: Result) -> str:
    """What the model's card says of it, in a few words."""
    model = result.model
    epochs = None if model.epochs is None else f"{model.epochs} epochs"
    return ", ".join(part for part in (model.method, model.pretraining_data, epochs) if part)


def _best_first(models: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """Models by their mean rank over the columns that they have; those without any come last."""
    ranks: dict[str, list[int]] = {model: [] for model in models}
    for column in columns:
        sign = -1 if column.higher_is_better else 1
        for rank, model in enumerate(sorted(column.cells, key=lambda m: sign * mean_over_seeds(column.values(m)))):
            ranks[model].append(rank)
    return sorted(models, key=lambda model: fmean(ranks[model]) if ranks[model] else len(models))


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
