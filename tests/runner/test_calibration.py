"""Calibration from the command line: the same figures under any batch size, reproduced by verify, and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image

from benchmark.data.imagenet import imagenet_classes
from leaderboard.charts.calibration import bins, risks
from tests.command import CommandLine, words

SCENES = "scenes=scenes:?train=40&test=30&classes=4&size=48&difficulty=0.3"
MODEL = ("--checkpoint", "random:test_resnet", "--preprocess", "size=32", "crop_pct=1")
FEW = ("lambdas=3", "lambda_min=1", "lambda_max=1000")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    tasks = [{"task": "linear"}, {"task": "robustness", "protocol": "robust/calibration"}]
    path.write_text(json.dumps({"name": "sure", "tasks": tasks}))
    return path


def result(out: Path, task: str) -> dict[str, Any]:
    (path,) = out.glob(f"results/*/{task}/*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_calibration_of_the_linear_tasks_head(cli: CommandLine, tmp_path: Path, suite: Path) -> None:
    settings = [part for task in ("linear", "robustness") for few in FEW for part in ("--set", f"{task}.{few}")]
    where = ("--suite", suite, "--data", SCENES, "--workers", "0", *settings)
    outcome = cli("run", *MODEL, *where, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    found = result(tmp_path / "a", "robustness")
    figures = {metric["name"]: metric["value"] for metric in found["metrics"]}
    linear = {metric["name"]: metric["value"] for metric in result(tmp_path / "a", "linear")["metrics"]}
    for name in ("top1", "ece", "nll", "ece@ts", "nll@ts"):
        assert figures[name] == linear[name]
    assert found["headline"] == "ece" and {"brier", "aurc", "eaurc@ts", "coverage@risk5-ts"} < figures.keys()
    assert cli("verify", tmp_path / "a").code == 0
    smaller = ("--batch-size", "5", "--task", "robustness")
    few = [part for few in FEW for part in ("--set", f"robustness.{few}")]
    again = cli(
        "run", *MODEL, "--suite", suite, "--data", SCENES, "--workers", "0", *few, *smaller, "--out", tmp_path / "b",
        "--cache", tmp_path / "another",
    )  # fmt: skip
    assert again.code == 0, again.err
    for before, now in zip(found["metrics"], result(tmp_path / "b", "robustness")["metrics"], strict=True):
        assert now["name"] == before["name"] and now["value"] == pytest.approx(before["value"], abs=1e-3)
    table = pq.read_table(tmp_path / "b" / result(tmp_path / "b", "robustness")["predictions"])
    for points in (bins(table), risks(table)):
        assert {point["scaling"] for point in points} == {"as it is", "after temperature scaling"}


def test_the_own_heads_temperature_needs_train(cli: CommandLine, tmp_path: Path, suite: Path) -> None:
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=1000).state_dict(), tmp_path / "net.pth")
    rng = np.random.default_rng(0)
    for split, each in (("train", 20), ("val", 6)):
        for label in list(imagenet_classes())[:3]:
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for place in range(each):
                pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / label / f"{place}.png")
    model = ("--checkpoint", tmp_path / "net.pth", "--arch", "test_resnet", "--set", "robustness.head=own")
    where = ("--suite", suite, "--data", f"few=folder:{tmp_path / 'data'}", "--task", "robustness", "--workers", "0")
    outcome = cli("run", *model, *where, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    found = result(tmp_path / "a", "robustness")
    assert found["data"]["n_train"] == 60 and found["selection"] == {"how": "train-10%", "n": 6}
    assert found["details"]["head"]["head"] == "own" and found["details"]["temperature"] > 0
    assert cli("verify", tmp_path / "a").code == 0


def test_predictions_that_were_changed_are_not_reproduced(cli: CommandLine, tmp_path: Path, suite: Path) -> None:
    few = [part for few in FEW for part in ("--set", f"robustness.{few}")]
    task = ("--task", "robustness", *few)
    outcome = cli("run", *MODEL, "--suite", suite, "--data", SCENES, "--workers", "0", *task, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    (path,) = tmp_path.glob("a/results/*/robustness/*.json")
    record = json.loads(path.read_text())
    for metric in record["metrics"]:
        if metric["name"] == "aurc":
            metric["value"] += 0.01
    path.write_text(json.dumps(record))
    found = cli("verify", tmp_path / "a")
    assert found.code == 1 and "aurc value: stored" in words(found.out)
