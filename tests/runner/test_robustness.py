"""Corrupted images are judged by the linear task's own head, whatever the batch size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.command import CommandLine, words

SCENES = "scenes=scenes:?train=40&test=12&classes=4&size=48&difficulty=0"
MODEL = ("--checkpoint", "random:test_resnet", "--preprocess", "size=32", "crop_pct=1")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    tasks = [{"task": "linear"}, {"task": "robustness", "protocol": "robust/corruptions"}]
    path.write_text(json.dumps({"name": "shifted", "tasks": tasks}))
    return path


def result(out: Path, task: str) -> dict[str, Any]:
    (path,) = out.glob(f"results/*/{task}/*.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_the_battery_of_corruptions(cli: CommandLine, tmp_path: Path, suite: Path) -> None:
    outcome = cli("run", *MODEL, "--suite", suite, "--data", SCENES, "--out", tmp_path / "a", "--workers", "0")
    assert outcome.code == 0, outcome.err
    found, linear = result(tmp_path / "a", "robustness"), result(tmp_path / "a", "linear")
    figures = {metric["name"]: metric["value"] for metric in found["metrics"]}
    clean = {metric["name"]: metric["value"] for metric in linear["metrics"]}
    assert figures["top1"] == clean["top1"]  # the same head on the same features
    table = pq.read_table(tmp_path / "a" / found["predictions"])
    errors = found["details"]["corruption_errors"]
    targets = np.array(table["target"])
    for name, values in errors.items():
        stored = np.array(table[name].to_pylist())
        np.testing.assert_allclose(values, 100 * (stored != targets[:, None]).mean(axis=0), atol=1e-3)
    assert figures["mean_error"] == pytest.approx(np.mean(list(errors.values())), abs=1e-3)
    assert cli("verify", tmp_path / "a").code == 0
    smaller = ("--batch-size", "5", "--task", "robustness")
    again = cli("run", *MODEL, "--suite", suite, "--data", SCENES, "--out", tmp_path / "b", "--workers", "0", *smaller)
    assert again.code == 0, again.err
    assert result(tmp_path / "b", "robustness")["metrics"] == found["metrics"]


def test_images_too_small_to_be_corrupted_are_listed(cli: CommandLine, tmp_path: Path, suite: Path) -> None:
    small = ("--checkpoint", "random:test_resnet", "--preprocess", "size=24", "crop_pct=1")
    outcome = cli("run", *small, "--suite", suite, "--data", SCENES, "--out", tmp_path / "a", "--dry-run")
    assert outcome.code == 0 and "needs images of 32 pixels a side" in words(outcome.err)
