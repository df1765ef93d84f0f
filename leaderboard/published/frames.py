"""Tables with published figures in them: the long form for programs, the wide form for programs and for people."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from leaderboard.formats import Format, encode
from leaderboard.published.match import Comparison, beside
from leaderboard.tables import LONG_COLUMNS, Entry, long_rows, wide_columns, wide_table

PUBLISHED_COLUMNS = ("source", "confidence", "flag", "difference", "allowed", "contradicted")
"""What the long form says of a published figure, after `LONG_COLUMNS`; empty for measured ones."""

NOTE = (
    "In parentheses: published figures of the same weights under the same protocol; ! contradicted by the measured "
    "one, ? suspect and not compared, ca. approximate in its source."
)

_WHOLE = ("protocol_version", "seed", "n", "draws", "epochs")
_TRUTHS = ("higher_is_better", "headline", "paper", "contradicted")


def encode_published(entries: Sequence[Entry], form: Format, wide: bool) -> bytes:
    """`table --published` in a format for programs or papers."""
    if not wide:
        return encode(long_table_published(entries), form)
    if form in ("md", "latex"):
        return encode(wide_text_published(entries), form) + f"\n{NOTE}\n".encode()
    return encode(wide_table_published(entries), form)


def long_table_published(entries: Sequence[Entry]) -> pd.DataFrame:
    """The long form, then a row per published figure that a measured one stands beside.

    A published row has origin `published` and status `published`, which no filter for `done` or `failed` takes; its
    model, task, protocol, dataset and metric are the measured one's, its method, architecture and the like its own.
    """
    rows = [*long_rows(entries), *(_long_row(comparison) for comparison in beside(entries))]
    frame = pd.DataFrame(rows, columns=[*LONG_COLUMNS, *PUBLISHED_COLUMNS])
    types = {**dict.fromkeys(_WHOLE, "Int64"), **dict.fromkeys(_TRUTHS, "boolean")}
    return frame.astype(types)


def _long_row(comparison: Comparison) -> dict[str, object]:
    result, row = comparison.entries[0].result, comparison.row
    return {
        "model": comparison.model,
        "task": comparison.task,
        "protocol": comparison.protocol,
        "protocol_version": result.protocol.version,
        "dataset": comparison.dataset,
        "split": result.data.reported_split,
        "metric": comparison.metric,
        "value": comparison.published,
        "higher_is_better": result.metric(comparison.metric).higher_is_better,
        "selection": result.selection.how,
        "status": "published",
        "headline": comparison.metric == result.headline,
        "arch": row.arch,
        "paper": result.protocol.paper,
        "method": row.method,
        "pretraining_data": row.pretrain_data,
        "epochs": row.epochs,
        "weights": row.weights,
        "origin": "published",
        **{name: getattr(comparison, name) for name in PUBLISHED_COLUMNS},
    }


def wide_table_published(entries: Sequence[Entry]) -> pd.DataFrame:
    """The wide form; after each column with published figures one of text, `X published`, with their marks."""
    frame = wide_table(entries)
    for label, texts in _texts(entries).items():
        column = [texts.get(model) for model in frame["model"]]
        frame.insert(list(frame.columns).index(label) + 1, f"{label} published", column)
    return frame


def wide_text_published(entries: Sequence[Entry]) -> pd.DataFrame:
    """The wide form as text: measured figures with the published ones in parentheses (see `NOTE`)."""
    frame = wide_table(entries).astype(object)
    for label, texts in _texts(entries).items():
        frame[label] = [
            f"{value:.2f} ({texts[model]})" if model in texts else value
            for model, value in zip(frame["model"], frame[label], strict=True)
        ]
    return frame


def marked(comparison: Comparison) -> str:
    """A published figure as printed, with the marks of `NOTE`."""
    if comparison.row.suspect:
        return f"{comparison.printed}?"
    if comparison.row.approximate:
        return f"ca. {comparison.printed}"
    return f"{comparison.printed}{'!' if comparison.contradicted else ''}"


def _texts(entries: Sequence[Entry]) -> dict[str, dict[str, str]]:
    """Label of a column of the wide form -> model -> its published figures of that headline."""
    comparisons = beside(entries)
    found: dict[str, dict[str, str]] = {}
    for column in wide_columns(entries):
        for model, cell in column.cells.items():
            # The results themselves, not their names: two sets of results under one name have columns of their own.
            inside = {id(entry) for entry in cell}
            marks = [
                marked(comparison)
                for comparison in comparisons
                if comparison.metric == column.metric and id(comparison.entries[0]) in inside
            ]
            if marks:
                found.setdefault(column.label, {})[model] = "; ".join(dict.fromkeys(marks))
    return found
