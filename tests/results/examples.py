"""Results to test with."""

from __future__ import annotations

from typing import Any

from benchmark.results.schema import Result


def example_result(**changes: Any) -> Result:
    """A done k-NN result, with top-level fields changed at will."""
    raw: dict[str, Any] = {
        "status": "done",
        "model": {
            "name": "m/1",
            "spec": "m.pth",
            "arch": "resnet50",
            "weights_hash": "w1",
            "params": 23,
            "representations": ["gap"],
            "default_representation": "gap",
            "preprocessing": {"size": [224, 224]},
        },
        "task": "knn",
        "task_version": 1,
        "protocol": {"name": "knn/dino", "version": 1, "settings": {}, "representation": "gap"},
        "data": {
            "name": "pets",
            "source": "folder:pets",
            "fingerprint": "f1",
            "reported_split": "test",
            "classes": 3,
            "n_train": 30,
            "n_reported": 20,
        },
        "seed": 0,
        "headline": "top1@k20",
        "scorer": {"name": "classification", "version": 1},
        "selection": {"how": "none"},
        "metrics": [
            {"name": "top1@k20", "value": 80.0, "ci_low": 70.0, "ci_high": 88.0, "higher_is_better": True, "n": 20}
        ],
        "predictions": "predictions/p.parquet",
        "predictions_sha256": "0" * 64,
        "provenance": {
            "code_version": "0",
            "run_id": "r",
            "finished": "2026-01-01T00:00:00+00:00",
            "device": "cpu",
            "hardware": "cpu",
            "precision": "fp32",
            "libraries": {},
            "wall_time_s": 1.0,
        },
    }
    return Result.model_validate({**raw, **changes})
