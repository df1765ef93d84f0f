"""The board that results are merged into: what it holds, and what a newcomer must agree with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmark.errors import ResultError
from benchmark.metrics.registry import get_scorer
from benchmark.results.schema import Result
from benchmark.results.store import ResultStore, read_predictions
from leaderboard.comparability import conflicts
from leaderboard.statistics import DRAWN_UNITS
from leaderboard.submissions.labels import Judged, Labels

_WORDS = {"source"}
_PINNED = {"crop_pct", "size", "mode"}  # what protocols set, each as it needs it


class Board:
    """The finished results of an output folder, and of what was accepted since.

    Raises:
        ResultError: a file of the folder is not a result (run `verify` on it).
    """

    def __init__(self, root: Path) -> None:
        self.store = ResultStore(root)
        self._held = [(root, result) for _, result in self.store.results() if result.status == "done"]
        self._labels: dict[str, Labels] = {}
        self._judged: dict[tuple[str, str, str], Judged] = {}
        self._recalled: set[str] = set()

    def check(self, result: Result, table: pa.Table) -> None:
        """Everything that a newcomer must share with what is there.

        Raises:
            ResultError: its name stands for other weights, its data, protocol or labels are not the board's.
        """
        self._check_model(result)
        self._check_data(result)
        self._check_labels(result, table)

    def add(self, root: Path, result: Result, table: pa.Table) -> None:
        """Takes an accepted result into account; `root` is where its predictions are."""
        self._held.append((root, result))
        self._learn(result, table)

    def _check_model(self, result: Result) -> None:
        name = result.model.name
        for _, other in self._held:
            if other.model.name != name:
                continue
            if other.model.weights_hash != result.model.weights_hash:
                raise ResultError(
                    f"weights {other.model.weights_hash[:12]} under the name {name}, as on the board",
                    f"weights {result.model.weights_hash[:12]}",
                    f"send it under another name, or pass --rename '{name}=NEW'",
                )
            same = (other.task, other.protocol.name) == (result.task, result.protocol.name)
            before, now = (_preprocessing(one, _WORDS if same else _WORDS | _PINNED) for one in (other, result))
            different = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
            if different:
                raise ResultError(
                    f"the preprocessing of {name} on the board ({_some(before, different)})",
                    _some(now, different),
                    f"pass --rename '{name}=NEW', or run it with --preprocess",
                )

    def _check_data(self, result: Result) -> None:
        mine = [other for _, other in self._held if other.data.name == result.data.name]
        for other in mine:
            if other.data.fingerprint != result.data.fingerprint:
                raise ResultError(
                    f"data fingerprint {other.data.fingerprint} of {other.data.name}, as on the board",
                    f"fingerprint {result.data.fingerprint}",
                    "run on the board's data, or call the dataset something else",
                )
        peers = [o for o in mine if (o.task, o.protocol.name) == (result.task, result.protocol.name)]
        against = [conflicts(other, result) for other in peers]
        if against and all(against):
            found = "; ".join(f"{conflict.field} {conflict.right}" for conflict in against[0])
            wanted = "; ".join(f"{conflict.field} {conflict.left}" for conflict in against[0])
            raise ResultError(f"{wanted}, as on the board", found, "run it as the board's results were")

    def _check_labels(self, result: Result, table: pa.Table) -> None:
        """The targets behind the predictions are the board's, image by image."""
        dataset, scorer = result.data.name, result.scorer.name
        complete = scorer not in DRAWN_UNITS
        labels = Labels.of(table, complete)
        judged = _judged(result, table) if complete else {}
        for one in judged.values():
            if len(one.units) != result.data.n_reported:
                found = f"predictions of {len(one.units)}"
                raise ResultError(f"{result.data.n_reported} images, as the result says", found, "run the cell again")
        self._recall(dataset)
        known = self._labels.get(dataset)
        if labels is not None and known is not None:
            known.check(labels)
        for metric, one in judged.items():
            if (dataset, scorer, metric) in self._judged:
                self._judged[dataset, scorer, metric].check(one)

    def _recall(self, dataset: str) -> None:
        """Learns from the board's own predictions on a dataset, once: from one result of each scorer and headline."""
        if dataset in self._recalled:
            return
        self._recalled.add(dataset)
        first: dict[tuple[str, str], tuple[Path, Result]] = {}
        for root, other in self._held:
            if other.data.name == dataset:
                first.setdefault((other.scorer.name, other.headline), (root, other))
        for root, other in first.values():
            self._learn(other, read_predictions(root, other))

    def _learn(self, result: Result, table: pa.Table) -> None:
        """Remembers which images a table speaks of, and what is on them."""
        dataset, complete = result.data.name, result.scorer.name not in DRAWN_UNITS
        labels, known = Labels.of(table, complete), self._labels.get(dataset)
        if labels is not None:
            self._labels[dataset] = labels if known is None else known.joined(labels)
        if complete:
            for metric, one in _judged(result, table).items():
                self._judged.setdefault((dataset, result.scorer.name, metric), one)


def _judged(result: Result, table: pa.Table) -> dict[str, Judged]:
    """What each figure was judged on, by its name; of figures that share it, the first."""
    found: dict[str, Judged] = {}
    for estimate in get_scorer(result.scorer.name, result.scorer.version).check(table):
        one = Judged(estimate.units, np.asarray(estimate.strata))
        if not any(one.units is other.units and one.strata is other.strata for other in found.values()):
            found[estimate.name] = one
    return found


def _preprocessing(result: Result, without: set[str]) -> dict[str, Any]:
    return {key: value for key, value in result.model.preprocessing.items() if key not in without}


def _some(preprocessing: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{key}={preprocessing.get(key)}" for key in keys)
