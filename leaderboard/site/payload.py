"""The board as data for the pages' scripts: small, and safe wherever it is put."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from leaderboard.groups import UNSAID, fact_of
from leaderboard.published.rows import PublishedRow
from leaderboard.site.board import Board, BoardColumn, BoardModel

DIGITS = 4


def script_json(value: object) -> str:
    """JSON that can stand inside a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for plain, safe in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028")):
        text = text.replace(plain, safe)
    return text.replace("\u2029", "\\u2029")


def board_payload(board: Board, published: list[tuple[PublishedRow, dict[int, float]]]) -> dict[str, Any]:
    """Models by columns.

    Args:
        board: the board.
        published: figures of others' that belong into columns: a row that stands for them all, and figure by the
            column's index.
    """
    throughput = common_place(board)
    rows = [_measured(board, model, throughput) for model in board.models]
    rows += [_published(row, figures, len(board.columns)) for row, figures in published]
    return {
        "title": board.title,
        "throughput": throughput,
        "columns": [_column(c) for c in board.columns],
        "rows": rows,
    }


def pairs_payload(board: Board) -> dict[str, Any]:
    """Paired tests by column: the tested rows, then half widths and p-values of the pairs (i < j) in order."""
    place = {model.name: index for index, model in enumerate(board.models)}
    columns = []
    for column in board.columns:
        pairs = column.pairs
        upper = np.triu_indices(len(pairs.models), 1)
        columns.append(
            {
                "rows": [place[model] for model in pairs.models],
                "half": [round(value, 3) for value in pairs.half[upper].tolist()],
                "p": [float(f"{value:.2g}") for value in pairs.p_value[upper].tolist()],
            }
        )
    return {"columns": columns}


def common_place(board: Board) -> str | None:
    """Where most models were timed: rates compare on one machine only; None where no two were timed in one place."""
    counts: dict[str, int] = {}
    for model in board.models:
        for where in model.throughput:
            counts[where] = counts.get(where, 0) + 1
    best = max(counts, key=lambda where: counts[where], default=None)
    return best if best is not None and counts[best] > 1 else None


def _column(column: BoardColumn) -> dict[str, Any]:
    result = column.example
    return {
        "label": column.label,
        "dataset": result.data.name,
        "task": result.task,
        "metric": column.column.metric,
        "protocol": result.protocol.name,
        "paper": result.protocol.paper,
        "family": column.family,
        "higher": bool(column.column.higher_is_better),
        "page": f"tasks/{column.slug}.html",
        "models": len(column.column.cells),
    }


def _measured(board: Board, model: BoardModel, throughput: str | None) -> dict[str, Any]:
    record = model.record
    return {
        "name": model.name,
        "page": f"models/{model.slug}.html",
        "origin": "measured",
        "architecture": fact_of(record, "architecture"),
        "method": record.method,
        "data": record.pretraining_data,
        "epochs": record.epochs,
        "params": round(record.params / 1e6, 3),
        "macs": None if record.macs is None else round(record.macs / 1e9, 3),
        "rate": round(model.throughput[throughput], 1) if throughput in model.throughput else None,
        "cells": [_cell(column, model.name) for column in board.columns],
    }


def _cell(column: BoardColumn, model: str) -> list[float] | int | None:
    """[value, low, high], with a 1 behind them for a clear winner; 0 where it failed; None where there is nothing."""
    found = column.figures.get(model)
    if found is None:
        return 0 if model in column.column.failed else None
    figures = [round(value, DIGITS) for value in (found.value, found.low, found.high)]
    return [*figures, 1] if column.winner == model else figures


def _published(row: PublishedRow, figures: dict[int, float], width: int) -> dict[str, Any]:
    return {
        "name": row.weights or row.method,
        "page": None,
        "origin": "published",
        "source": row.source,
        "architecture": row.arch or UNSAID,
        "method": row.method,
        "data": row.pretrain_data,
        "epochs": row.epochs,
        "params": None,
        "macs": None,
        "rate": None,
        "cells": [[figures[index]] if index in figures else None for index in range(width)],
    }
