"""What a table means, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rich.text import Text

from leaderboard.pairwise import clear_winner
from leaderboard.tables import Column, Entry, mean_over_seeds, wide_columns


def reading(entries: Sequence[Entry]) -> Text:
    """One line: who leads where, by how much over whom, and how many of the leads are more than luck."""
    columns = [column for column in wide_columns(entries) if len(column.cells) > 1]
    if not columns:
        return Text("One model alone: the figures say how well its features serve; compare them with another's.")
    leads: dict[str, int] = {}
    clear = 0
    for column in columns:
        leads[_ranked(column)[0]] = leads.get(_ranked(column)[0], 0) + 1
        clear += clear_winner(column) is not None
    leader = max(leads, key=lambda model: leads[model])
    together = [column for column in columns if all(model in column.cells for model in _models(columns))]
    average = (
        {model: fmean(_score(column, model) for column in together) for model in _models(columns)} if together else {}
    )
    text = f"{leader} leads {leads[leader]} of {len(columns)} columns, {clear} of them with a clear winner"
    rest = sorted((model for model in average if model != leader), key=lambda model: average[model], reverse=True)
    if rest:
        gaps = ", ".join(f"{model} by {average[leader] - average[model]:.1f}" for model in rest)
        text += f"; on average over the columns that all models have it is ahead of {gaps} points"
    return Text(text + ".")


def _models(columns: Sequence[Column]) -> list[str]:
    return list(dict.fromkeys(model for column in columns for model in column.cells))


def _score(column: Column, model: str) -> float:
    return (1 if column.higher_is_better else -1) * mean_over_seeds(column.values(model))


def _ranked(column: Column) -> list[str]:
    return sorted(column.cells, key=lambda model: _score(column, model), reverse=True)
