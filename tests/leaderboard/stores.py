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
    rng = np.random.default_rng(7)
    targets = rng.integers(0, 3, n)
    right = np.arange(n) < round(accuracy * n)
    prediction = np.where(right, targets, (targets + 1) % 3)
    ranked = np.stack([prediction, (prediction + 1) % 3, (prediction + 2) % 3], axis=1)
    table = classification_table(pa.array([f"{i:04d}" for i in range(n)]), targets, ranked, 3)
    key = CellKey(model, "nmc", dataset, protocol, seed)
    store = ResultStore(root)
    path, digest = store.write_predictions(key, table)
    base = example_result()
    metrics = tuple(MetricValue(**asdict(metric)) for metric in get_scorer("classification")(table))
    result = base.model_copy(
        update={
            "model": base.model.model_copy(update={"name": model, "weights_hash": f"weights of {model}"}),
            "task": "nmc",
            "protocol": base.protocol.model_copy(update={"name": protocol}),
            "data": base.data.model_copy(update={"name": dataset}),
            "seed": seed,
            "headline": "top1",
            "metrics": metrics,
            "predictions": path,
            "predictions_sha256": digest,
        }
    )
    store.write(key, result)
    return result
