"""Folders as `run` would write them, of real protocols, to be sent to a board."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmark.metrics.columns import classification_table, episodes_table, facts_of
from benchmark.metrics.registry import get_scorer
from benchmark.results.schema import MetricValue, Result
from benchmark.results.store import CellKey, ResultStore
from tests.results.examples import example_result

CLASSES = 3
TARGETS = np.random.default_rng(7).integers(0, CLASSES, 200)
CELLS = {
    "classification": ("nmc", "nmc/cosine", "top1"),
    "episodes": ("fewshot", "fewshot/proto", "top1@5way-1shot"),
    "segmentation": ("segmentation", "seg/linear@tiny", "mIoU"),
    "detection": ("detection", "det/faster", "AP"),
}
"""The task, protocol and headline that are sent with the predictions of a scorer."""
IDS = pa.array([f"{i:04d}.jpg" for i in range(len(TARGETS))])


def nmc_table(accuracy: float, targets: np.ndarray = TARGETS, ids: pa.Array = IDS) -> pa.Table:
    """Right on the first `accuracy` of the samples."""
    right = np.arange(len(targets)) < round(accuracy * len(targets))
    first = np.where(right, targets, (targets + 1) % CLASSES)
    ranked = np.stack([first, (first + 1) % CLASSES, (first + 2) % CLASSES], axis=1)
    return classification_table(ids, targets, ranked, CLASSES)


def fewshot_table(targets: np.ndarray = TARGETS, episodes: int = 20) -> pa.Table:
    """Episodes of 30 queries among the same images."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.permutation(len(targets))[:30] for _ in range(episodes)])
    guessed = np.where(rng.random(rows.shape) < 0.6, targets[rows], (targets[rows] + 1) % CLASSES)
    numbers = np.repeat(np.arange(episodes), 30)
    return episodes_table(
        numbers, IDS.take(pa.array(rows.ravel())), targets[rows].ravel(), guessed.ravel(), CLASSES, "5way-1shot"
    )


def send(root: Path, model: str, table: pa.Table, **changes: Any) -> Path:
    """Stores a result with these predictions, of a task by their scorer; returns its file.

    Keyword arguments named `model_...`, `data_...`, `protocol_...` and `provenance_...` change those records, others
    the result itself.
    """
    facts = facts_of(table)
    scorer = facts["scorer"]
    task, protocol, headline = CELLS[scorer]
    base = example_result()
    records: dict[str, dict[str, Any]] = {
        "model": {"name": model, "weights_hash": f"weights-of-{model}"},
        "data": {"classes": facts["classes"], "n_reported": len(TARGETS)},
        "protocol": {"name": protocol},
        "provenance": {},
    }
    top: dict[str, Any] = {}
    for field, value in changes.items():
        record, _, inner = field.partition("_")
        if inner and record in records and field not in Result.model_fields:
            records[record][inner] = value
        else:
            top[field] = value
    update = {name: getattr(base, name).model_copy(update=values) for name, values in records.items()}
    update |= {
        "task": task,
        "headline": headline,
        "scorer": base.scorer.model_copy(update={"name": scorer}),
        "metrics": tuple(MetricValue(**asdict(metric)) for metric in get_scorer(scorer)(table)),
        **top,
    }
    result = base.model_copy(update=update)
    key = CellKey(result.model.name, result.task, result.data.name, result.protocol.name, result.seed)
    store = ResultStore(root)
    path, digest = store.write_predictions(key, table)
    return store.write(key, result.model_copy(update={"predictions": path, "predictions_sha256": digest}))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the JSON of a result by hand."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")
