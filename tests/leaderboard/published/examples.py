"""Measured results by hand, of released weights, on what looks like the published dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.results.schema import MetricValue, Result
from benchmark.results.store import CellKey, ResultStore
from leaderboard.published.rows import COLUMNS
from leaderboard.tables import Entry
from tests.results.examples import example_result

IMAGENET = {
    "name": "imagenet-1k", "reported_split": "val", "classes": 1000, "n_train": 1281167, "n_reported": 50000
}  # fmt: skip


def result(
    value: float = 74.5,
    *,
    weights: str | None = "dino_vits16",
    metric: str = "top1@k20",
    seed: int = 0,
    spread: float | None = None,
    draws: int = 1,
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    protocol: dict[str, Any] | None = None,
    **changes: Any,
) -> Result:
    """k-NN of DINO's ViT-S/16 on ImageNet, of which 74.5 is published; parts changed at will."""
    base = example_result()
    figure = MetricValue(
        name=metric, value=value, ci_low=value - 0.38, ci_high=value + 0.38, higher_is_better=True, n=50000,
        spread=spread, draws=draws,
    )  # fmt: skip
    preprocessing = {"size": [224, 224], "crop_pct": 0.875, "interpolation": "bicubic", "mode": "crop"}
    told = {"name": "m", "weights": weights, "preprocessing": preprocessing, **(model or {})}
    return base.model_copy(
        update={
            "model": base.model.model_copy(update=told),
            "data": base.data.model_copy(update={**IMAGENET, **(data or {})}),
            "protocol": base.protocol.model_copy(update=protocol or {}),
            "headline": metric,
            "metrics": (figure,),
            "seed": seed,
            **changes,
        }
    )


def entry(value: float = 74.5, **changes: Any) -> Entry:
    """The same as an entry of a folder."""
    return Entry(Path("runs"), result(value, **changes))


def store(root: Path, *results: Result) -> Path:
    """An output folder with these results (and no predictions)."""
    for one in results:
        key = CellKey(one.model.name, one.task, one.data.name, one.protocol.name, one.seed)
        ResultStore(root).write(key, one)
    return root


def line(**cells: str) -> str:
    """A line of a file of published figures."""
    row = dict.fromkeys(COLUMNS, "") | {
        "method": "DINO",
        "arch": "vit_small_patch16",
        "pretrain_data": "IN1K",
        "task": "imagenet-1k/knn-dino",
        "metric": "top1",
        "value": "74.5",
        "source": "facebookresearch/dino README.md",
        "confidence": "cell-checked",
        "weights": "dino_vits16",
    }
    return ",".join({**row, **cells}[name] for name in COLUMNS)


def table(folder: Path, *lines: str) -> Path:
    """A file of published figures."""
    path = folder / "mine.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return path
