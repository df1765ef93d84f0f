"""Images of something else from the command line: the same figures under any batch size, reproduced by verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from tests.command import CommandLine, words

MODEL = ("--checkpoint", "random:test_resnet", "--preprocess", "size=32", "crop_pct=1")
SCENES = "scenes:?train=40&test=30&classes=4&size=48&difficulty=0.3"
FEW = [part for few in ("lambdas=3", "lambda_min=1", "lambda_max=1000") for part in ("--set", f"robustness.{few}")]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    tasks = [{"task": "robustness", "protocol": f"robust/{name}"} for name in ("ood", "shift", "calibration")]
    path.write_text(json.dumps({"name": "others", "tasks": tasks}))
    return path


def noise(root: Path, *labels: str, each: int = 12) -> Path:
    for seed, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        rng = np.random.default_rng(seed)
        for place in range(each):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{place}.png")
    return root


def results(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("results/*/*/*.json"))]


def test_scenes_against_noise(cli: CommandLine, tmp_path: Path, suite: Path) -> None:
    pair = (
        "--shift",
        f"clean={SCENES}",
        f"noise=folder:{noise(tmp_path / 'noise', 'white', 'grey')}",
        "noise:map=none",
    )
    call = ("run", *MODEL, "--suite", suite, *pair, "--workers", "0", *FEW)
    outcome = cli(*call, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    (found,) = results(tmp_path / "a")  # nothing counts as right, and calibration is not about pairs
    assert found["protocol"]["name"].startswith("robust/ood+")  # with the settings of FEW
    assert found["headline"] == "auroc@knn" and found["details"]["outside_images"] == 24
    rows = pq.read_table(tmp_path / "a" / found["predictions"]).to_pylist()
    label = [row["variant"] == "inside" for row in rows]
    for metric in found["metrics"]:
        base, _, name = metric["name"].partition("@")
        if base == "auroc":
            assert metric["value"] == pytest.approx(100 * roc_auc_score(label, [row[name] for row in rows]))
    assert cli("verify", tmp_path / "a").code == 0
    again = cli(*call, "--out", tmp_path / "b", "--batch-size", "5", "--cache", tmp_path / "another")
    assert again.code == 0, again.err
    (other,) = results(tmp_path / "b")
    for before, now in zip(found["metrics"], other["metrics"], strict=True):
        assert now["name"] == before["name"] and now["value"] == pytest.approx(before["value"], abs=0.01)


def test_a_source_with_the_same_classes_is_listed_with_its_reason(
    cli: CommandLine, tmp_path: Path, suite: Path
) -> None:
    clean = noise(tmp_path / "clean" / "train", "cat", "dog").parent
    noise(clean / "test", "cat", "dog")
    other = noise(tmp_path / "other", "Dog", "sofa")
    pair = ("--shift", f"clean=folder:{clean}", f"other=folder:{other}", "other:map=none")
    outcome = cli("run", *MODEL, "--suite", suite, *pair, "--out", tmp_path / "a", "--workers", "0", "--dry-run")
    assert "needs images of other classes; found dog in both" in words(outcome.err), outcome.err
