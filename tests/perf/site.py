"""Building the site of a large board, beside the plain reading of what it shows."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.metrics.columns import classification_table
from benchmark.metrics.intervals import of_proportion
from benchmark.results.schema import MetricValue
from benchmark.results.store import CellKey, ResultStore
from leaderboard.site.board import TESTED
from leaderboard.site.build import build_site
from leaderboard.tables import read_entries
from tests.perf.registry import Row, Setting, benchmark, seconds
from tests.results.examples import example_result

SAMPLES = 1000


@benchmark("site")
def site(setting: Setting) -> Iterator[Row]:
    """300 models x 40 columns: results to a finished site, against reading the same files and doing nothing."""
    models, columns = (30, 8) if setting.quick else (300, 40)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        _store(root, models, columns)
        ours, built = seconds(lambda: build_site(read_entries([root]), Path(folder) / "site"), setting)
        theirs, _ = seconds(lambda: _read(root), setting)
        size = sum(path.stat().st_size for path in (Path(folder) / "site").rglob("*") if path.is_file())
    yield Row(
        f"site of {models} x {columns}",
        ours,
        theirs,
        ours / theirs,
        "20 s",
        ours < 20 if not setting.quick else None,
        {"pages": built.pages, "MB": round(size / 1e6, 1), "samples": SAMPLES},
    )


def _read(root: Path) -> None:
    for path in root.glob("results/*/*/*.json"):
        json.loads(path.read_text())
    for path in sorted(root.glob("predictions/*/*/*.parquet"))[:TESTED]:
        pq.read_table(path)


def _store(root: Path, models: int, columns: int) -> None:
    """Results whose headline is that of their predictions; nobody waits for the disk."""
    rng = np.random.default_rng(0)
    skills = rng.normal(0, 0.5, models)
    store, base = ResultStore(root), example_result()
    ids = pa.array([f"{i:05d}" for i in range(SAMPLES)])
    with mock.patch.object(os, "fsync"):
        for column in range(columns):
            hard, targets = rng.normal(0, 1, SAMPLES), rng.integers(0, 3, SAMPLES)
            for model, skill in enumerate(skills):
                hit = hard + rng.normal(0, 0.7, SAMPLES) < skill
                first = np.where(hit, targets, (targets + 1) % 3)
                ranked = (first[:, None] + np.arange(3)) % 3
                key = CellKey(f"model-{model:03d}", "nmc", f"data{column:02d}", "nmc/cosine", 0)
                path, digest = store.write_predictions(key, classification_table(ids, targets, ranked, 3))
                low, high = of_proportion(hit.astype(np.float64))
                figure = MetricValue(
                    name="top1",
                    value=100 * float(hit.mean()),
                    ci_low=100 * low,
                    ci_high=100 * high,
                    higher_is_better=True,
                    n=SAMPLES,
                )
                changes = {
                    "model": base.model.model_copy(update={"name": key.model, "weights_hash": key.model}),
                    "task": "nmc",
                    "protocol": base.protocol.model_copy(update={"name": key.protocol}),
                    "data": base.data.model_copy(update={"name": key.dataset}),
                    "headline": "top1",
                    "metrics": (figure,),
                    "predictions": path,
                    "predictions_sha256": digest,
                }
                store.write(key, base.model_copy(update=changes))
