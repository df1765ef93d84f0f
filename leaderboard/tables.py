"""Results as data frames: the long form for programs, the wide form for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd

from benchmark.errors import ResultError
from benchmark.metrics.names import definition_of
from benchmark.results.schema import MetricValue, Result
from benchmark.results.store import open_store
from leaderboard.comparability import comparable, conflicts
from leaderboard.derived import check_reference, derived

CARD_COLUMNS = ("method", "pretraining_data", "epochs", "licence", "link", "weights")
"""What a model card says of a checkpoint."""

LONG_COLUMNS = (
    "model",
    "task",
    "protocol",
    "protocol_version",
    "dataset",
    "split",
    "seed",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "higher_is_better",
    "n",
    "selection",
    "status",
    "headline",
    "spread",
    "draws",
    "representation",
    "arch",
    "paper",
    "error",
    "layout",
    *CARD_COLUMNS,
    "origin",
)
"""The first fifteen are a contract; what follows may grow."""


@dataclass(frozen=True)
class Entry:
    """A stored result and the folder that it (and its predictions) came from."""

    root: Path
    result: Result


@dataclass(frozen=True)
class Column:
    """A column of the wide form: mutually comparable results of one headline.

    Attributes:
        label: `dataset/task/metric`, with what tells it from a namesake in brackets.
        metric: the headline's name.
        cells: model -> its done results, one per seed.
        failed: models whose every result here failed.
    """

    label: str
    metric: str
    cells: dict[str, tuple[Entry, ...]]
    failed: frozenset[str]

    @property
    def higher_is_better(self) -> bool | None:
        """Direction, None where nothing succeeded."""
        for entries in self.cells.values():
            return entries[0].result.metric(self.metric).higher_is_better
        return None

    def values(self, model: str) -> list[MetricValue]:
        """The headline of a model, one per seed."""
        return [entry.result.metric(self.metric) for entry in self.cells.get(model, ())]


def read_entries(folders: Iterable[Path]) -> list[Entry]:
    """Every stored result of several output folders.

    One name that stands for different weights is told apart as `name@folder`, or by the weights' hash where the folder
    does not tell. One cell stored in several folders counts once.

    Raises:
        ResultError: a folder without results, a file that is not one, or one cell with two sets of predictions.
    """
    entries = [Entry(root, result) for root in folders for _, result in open_store(root).results()]
    weights: dict[str, set[str]] = {}
    labelled: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        model = entry.result.model
        weights.setdefault(model.name, set()).add(model.weights_hash)
        labelled.setdefault((model.name, _folder(entry)), set()).add(model.weights_hash)
    ambiguous = {name for (name, _), hashes in labelled.items() if len(hashes) > 1}
    unique: dict[tuple[object, ...], Entry] = {}
    for entry in entries:
        model = entry.result.model
        if len(weights[model.name]) > 1:
            label = f"weights {model.weights_hash[:8]}" if model.name in ambiguous else _folder(entry)
            entry = _renamed(entry, f"{model.name}@{label}")
        result = entry.result
        cell = (result.model.name, result.task, result.data.name, result.data.fingerprint, result.protocol.name)
        first = unique.setdefault((*cell, result.protocol.version, result.seed, result.status), entry)
        if first.result.predictions_sha256 != result.predictions_sha256:
            raise ResultError(
                "one result of a cell",
                f"{' · '.join(cell[:3])} seed {result.seed} with other predictions in {first.root} and {entry.root}",
                "leave one of the folders out, or put them together by a rule (merge --replace newer)",
            )
    return list(unique.values())


def _folder(entry: Entry) -> str:
    return entry.root.name or str(entry.root)


def _renamed(entry: Entry, name: str) -> Entry:
    model = entry.result.model.model_copy(update={"name": name})
    return Entry(entry.root, entry.result.model_copy(update={"model": model}))


def long_table(entries: Sequence[Entry], reference: str | None = None) -> pd.DataFrame:
    """One row per metric; a failed cell has one row, its headline without a value.

    Args:
        entries: the results.
        reference: see `leaderboard.derived`; figures of the board have `origin` "of the board" and no interval.
    """
    return pd.DataFrame(long_rows(entries, reference), columns=list(LONG_COLUMNS))


def long_rows(entries: Sequence[Entry], reference: str | None = None) -> list[dict[str, object]]:
    """The rows of the long form, by column; what a row lacks is left out of it."""
    more: dict[int, dict[str, float]] = {}
    for column in wide_columns(entries):
        for name, values in derived_of(column, reference).items():
            for model, value in values.items():
                more.setdefault(id(column.cells[model][0]), {})[name] = value
    rows: list[dict[str, object]] = []
    for entry in entries:
        result = entry.result
        shared = {
            "model": result.model.name,
            "task": result.task,
            "protocol": result.protocol.name,
            "protocol_version": result.protocol.version,
            "dataset": result.data.name,
            "split": result.data.reported_split,
            "seed": result.seed,
            "n": 0,
            "selection": result.selection.how,
            "status": result.status,
            "representation": result.protocol.representation,
            "arch": result.model.arch,
            "paper": result.protocol.paper,
            "error": result.error.message if result.error else None,
            "layout": result.model.layout,
            **{name: getattr(result.model, name) for name in CARD_COLUMNS},
            "origin": "measured",
        }
        if result.status == "failed":
            rows.append({**shared, "metric": result.headline, "headline": True})
        for metric in result.metrics:
            figures = metric.model_dump(exclude={"name"})
            rows.append({**shared, **figures, "metric": metric.name, "headline": metric.name == result.headline})
        for name, value in more.get(id(entry), {}).items():
            better, n = definition_of(name).higher_is_better, result.metric(result.headline).n
            figures = {"value": value, "higher_is_better": better, "n": n, "draws": 1}
            rows.append({**shared, **figures, "metric": name, "headline": False, "origin": "of the board"})
    return rows


def check_reference_of(entries: Sequence[Entry], reference: str | None) -> None:
    """Stops where a model that errors are to be given over has none under corruptions (see `leaderboard.derived`)."""
    cells = [
        {model: [entry.result for entry in cell] for model, cell in c.cells.items()} for c in wide_columns(entries)
    ]
    check_reference(reference, cells)


def derived_of(column: Column, reference: str | None = None) -> dict[str, dict[str, float]]:
    """Metric -> model -> figure of what a column's models say of each other (see `leaderboard.derived`)."""
    cells = {model: [entry.result for entry in cell] for model, cell in column.cells.items()}
    return derived(cells, reference)


def wide_columns(entries: Sequence[Entry]) -> list[Column]:
    """Headlines grouped into columns of mutually comparable results.

    Results under one `dataset/task/metric` that may not be ranked together get columns of their own, whose labels
    say what tells them apart.
    """
    groups: dict[str, list[list[Entry]]] = {}
    for entry in entries:
        result = entry.result
        clusters = groups.setdefault(f"{result.data.name}/{result.task}/{result.headline}", [])
        for cluster in clusters:
            if _belongs(result, cluster[0].result):
                cluster.append(entry)
                break
        else:
            clusters.append([entry])
    columns = []
    for label, clusters in groups.items():
        for index, cluster in enumerate(clusters):
            columns.append(_column(label + _suffix(clusters, index), cluster))
    return columns


def _belongs(result: Result, other: Result) -> bool:
    """A failed result has no selection yet, so it goes with the protocol and data that it was meant for."""
    if "failed" in (result.status, other.status):
        return all(conflict.field in {"selection", "images left out"} for conflict in conflicts(result, other))
    return comparable(result, other)


def _suffix(clusters: list[list[Entry]], index: int) -> str:
    """What tells a cluster from its namesakes: the protocol where that differs, else the fields that do."""
    if len(clusters) == 1:
        return ""
    first, mine = clusters[0][0].result, clusters[index][0].result
    protocols = [cluster[0].result.protocol.name for cluster in clusters]
    if len(set(protocols)) == len(clusters):
        return f" [{mine.protocol.name}]"
    others = [cluster[0].result for place, cluster in enumerate(clusters) if place != index]
    fields = sorted({conflict.field for other in (first, *others) for conflict in conflicts(mine, other)})
    return f" [{mine.protocol.name}, set {index + 1}: other {', '.join(fields)}]"


def _column(label: str, cluster: list[Entry]) -> Column:
    done: dict[str, list[Entry]] = {}
    models = dict.fromkeys(entry.result.model.name for entry in cluster)
    for entry in cluster:
        if entry.result.status == "done":
            done.setdefault(entry.result.model.name, []).append(entry)
    cells = {
        model: tuple(sorted(done[model], key=lambda entry: entry.result.seed)) for model in models if model in done
    }
    return Column(label, cluster[0].result.headline, cells, frozenset(models.keys() - cells.keys()))


def wide_table(entries: Sequence[Entry], reference: str | None = None) -> pd.DataFrame:
    """A row per model, a column per headline (mean over seeds), figures of the board beside it; empty where a model has
    no result.

    Args:
        entries: the results.
        reference: see `leaderboard.derived`.
    """
    columns = wide_columns(entries)
    models = list(dict.fromkeys(entry.result.model.name for entry in entries))
    frame = pd.DataFrame({"model": models}, columns=["model"])
    for column in columns:
        frame[column.label] = [mean_over_seeds(column.values(model)) for model in models]
        for name, values in derived_of(column, reference).items():
            frame[derived_label(column, name)] = [values.get(model, math.nan) for model in models]
    return frame


def derived_label(column: Column, name: str) -> str:
    """The label of a figure of the board beside its column."""
    return column.label.replace(f"/{column.metric}", f"/{name}", 1)


def mean_over_seeds(values: Sequence[MetricValue]) -> float:
    """The mean of one metric over seeds, NaN without any (an empty cell of a data frame)."""
    return fmean(value.value for value in values) if values else math.nan


def spread_over_seeds(values: Sequence[MetricValue]) -> float | None:
    """Standard deviation over seeds, or over a protocol's own draws where there is one seed; None without either."""
    if len(values) > 1:
        return stdev(value.value for value in values)
    return values[0].spread if values else None
