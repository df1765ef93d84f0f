"""Output folders with real predictions, made without any model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmark.metrics.columns import classification_table
from benchmark.metrics.registry import get_scorer
from benchmark.results.schema import MetricValue, Result
from benchmark.results.store import CellKey, ResultStore
from tests.results.examples import example_result


def store_result(
    root: Path,
    model: str,
    accuracy: float,
    *,
    n: int = 400,
    seed: int = 0,
    dataset: str = "pets",
    protocol: str = "p/q",
) -> Result:
    """Stores a three-class result that is right on the first `accuracy * n` samples."""
    return store_hits(root, model, np.arange(n) < round(accuracy * n), seed=seed, dataset=dataset, protocol=protocol)


def store_hits(
    root: Path, model: str, right: np.ndarray, *, seed: int = 0, dataset: str = "pets", protocol: str = "p/q"
) -> Result:
    """Stores a three-class result that is right where `right` says, (N,)."""
    n = len(right)
    targets = np.random.default_rng(7).integers(0, 3, n)
    prediction = np.where(right, targets, (targets + 1) % 3)
    ranked = np.stack([prediction, (prediction + 1) % 3, (prediction + 2) % 3], axis=1)
    table = classification_table(pa.array([f"{i:04d}" for i in range(n)]), targets, ranked, 3)
    return store_table(root, model, table, seed=seed, dataset=dataset, protocol=protocol)


def store_table(
    root: Path,
    model: str,
    table: pa.Table,
    scorer: str = "classification",
    headline: str = "top1",
    *,
    seed: int = 0,
    dataset: str = "pets",
    protocol: str = "p/q",
    task: str = "nmc",
) -> Result:
    """Stores predictions and the metrics that their scorer gives."""
    key = CellKey(model, task, dataset, protocol, seed)
    store = ResultStore(root)
    path, digest = store.write_predictions(key, table)
    base = example_result()
    metrics = tuple(MetricValue(**asdict(metric)) for metric in get_scorer(scorer)(table))
    result = base.model_copy(
        update={
            "model": base.model.model_copy(update={"name": model, "weights_hash": f"weights of {model}"}),
            "task": task,
            "protocol": base.protocol.model_copy(update={"name": protocol}),
            "data": base.data.model_copy(update={"name": dataset}),
            "seed": seed,
            "headline": headline,
            "scorer": base.scorer.model_copy(update={"name": scorer}),
            "metrics": metrics,
            "predictions": path,
            "predictions_sha256": digest,
        }
    )
    store.write(key, result)
    return result
