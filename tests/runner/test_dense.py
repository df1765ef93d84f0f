"""Tasks on patch maps run as every other task does: planned, stored, shared, verified, and refused where senseless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.command import CommandLine

SCENES = "scenes=scenes:?train=40&test=20&classes=4&size=64&difficulty=0"
MODEL = ("--checkpoint", "random:test_resnet", "--preprocess", "size=32", "crop_pct=1")
SMALL = ("--set", "segmentation.size=128")


def run(cli: CommandLine, out: Path, *more: str | Path, data: str = SCENES, suite: str = "dense") -> Any:
    return cli("run", *MODEL, "--suite", suite, "--data", data, "--out", out, *more)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The dense suite with a budget for tests."""
    path = tmp_path / "small.yaml"
    tasks = [
        {"task": "segmentation", "protocol": f"seg/{name}@tiny", "settings": {"size": 128, **settings}}
        for name, settings in (("linear", {"iterations": 20}), ("linear-4", {"iterations": 20}), ("knn", {}))
    ]
    path.write_text(json.dumps({"name": "small", "tasks": tasks}))
    return path


def results(out: Path) -> dict[str, Any]:
    found = [json.loads(path.read_text()) for path in sorted(out.glob("results/*/segmentation/*.json"))]
    return {result["protocol"]["name"].partition("+")[0]: result for result in found}


def test_three_protocols_share_one_pass_and_every_figure_is_reproduced(
    cli: CommandLine, tmp_path: Path, small: Path
) -> None:
    outcome = run(cli, tmp_path / "out", suite=str(small))
    assert outcome.code == 0, outcome.err
    assert "to encode: 60 images" in outcome.err and "GB of patch features" in outcome.err
    found = results(tmp_path / "out")
    assert set(found) == {"seg/linear@tiny", "seg/linear-4@tiny", "seg/knn@tiny"}
    for result in found.values():
        assert result["status"] == "done" and result["headline"] == "mIoU"
        assert result["data"]["classes"] == 5 and result["data"]["n_train"] == 40 and result["metrics"][0]["n"] == 20
        assert result["model"]["preprocessing"]["size"] == [128, 128]
        assert result["model"]["preprocessing"]["mode"] == "squash"
    assert found["seg/knn@tiny"]["selection"] == {"how": "train-10%", "n": 4}
    verified = cli("verify", tmp_path / "out")
    assert verified.code == 0 and "3 of 3 results reproduced" in verified.out
    again = run(cli, tmp_path / "out", suite=str(small))
    assert "nothing to do" in again.err
    next((tmp_path / "out").glob("results/*/segmentation/*knn*.json")).unlink()
    again = run(cli, tmp_path / "out", suite=str(small))
    assert "to encode: nothing" in again.err and "1 cells made" in again.err
    assert results(tmp_path / "out")["seg/knn@tiny"]["metrics"] == found["seg/knn@tiny"]["metrics"]


def masks(root: Path, broken: bool = False) -> str:
    for split, count in (("train", 12), ("val", 4)):
        for index in range(count):
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(index).integers(0, 3, (40, 50), dtype=np.uint8)
            Image.fromarray(values * 80).convert("RGB").save(root / f"images/{split}/{index}.png")
            if broken and (split, index) == ("val", 2):
                values = values[:-1]
            Image.fromarray(values).save(root / f"masks/{split}/{index}.png")
    (root / "map.json").write_text('["a", "b", "c"]')
    return f"m=masks:{root}/images,{root}/masks?labels={root}/map.json"


def test_each_kind_of_task_is_listed_and_skipped_where_the_data_has_nothing_for_it(
    cli: CommandLine, tmp_path: Path
) -> None:
    outcome = run(cli, tmp_path / "a", "--dry-run", data=masks(tmp_path / "m"), suite="frozen")
    assert outcome.code == 0 and "needs a class per image; found masks only" in " ".join(outcome.err.split())
    root = tmp_path / "photos"
    for split in ("train", "test"):
        for label in ("a", "b"):
            (root / split / label).mkdir(parents=True)
            Image.new("RGB", (8, 8), (len(split) * 20, 10, ord(label))).save(root / split / label / "0.png")
    outcome = run(cli, tmp_path / "b", "--dry-run", data=f"p=folder:{root}")
    assert outcome.code == 0 and "needs masks; found labels only" in " ".join(outcome.err.split())


def test_a_mask_that_does_not_fit_ends_in_one_line_with_its_file(cli: CommandLine, tmp_path: Path, small: Path) -> None:
    outcome = run(cli, tmp_path / "out", data=masks(tmp_path / "m", broken=True), suite=str(small))
    text = " ".join(outcome.err.split())
    assert outcome.code == 2 and "val/2.png" in text and "50 x 39" in text and "50 x 40" in text


def test_a_transformer_is_built_for_the_size_and_one_without_maps_is_left_out(
    cli: CommandLine, tmp_path: Path, small: Path
) -> None:
    data = ("--suite", str(small), "--data", SCENES, "--out", str(tmp_path / "out"), "--task", "segmentation")
    outcome = cli("run", "--checkpoint", "random:test_vit", "--name", "vit", *data)
    assert outcome.code == 0, outcome.err
    found = results(tmp_path / "out")
    assert found["seg/linear@tiny"]["details"]["maps"] == [[64, 8, 8]]
    assert found["seg/linear-4@tiny"]["details"]["maps"] == [[64, 8, 8]] * 4
    assert found["seg/linear@tiny"]["model"]["preprocessing"]["size"] == [128, 128]


def test_an_encoder_that_sees_crops_is_opened_for_whole_patches_and_every_figure_is_reproduced(
    cli: CommandLine, tmp_path: Path
) -> None:
    settings = {"iterations": 12, "batch": 4, "size": 64, "short": 64, "long": 256}
    suite = tmp_path / "crops.yaml"
    tasks = [{"task": "segmentation", "protocol": "seg/linear", "settings": settings}]
    suite.write_text(json.dumps({"name": "crops", "tasks": tasks}))
    data = SCENES.replace("test=20", "test=8")
    more = ("--suite", suite, "--data", data, "--out", tmp_path / "out")
    outcome = cli("run", "--checkpoint", "random:test_vit?patch_size=14&img_size=70", "--name", "vit", *more)
    assert outcome.code == 0, outcome.err
    result = results(tmp_path / "out")["seg/linear"]
    assert result["status"] == "done" and result["metrics"][0]["n"] == 8 and result["selection"]["how"] == "none"
    assert result["model"]["preprocessing"]["size"] == [56, 56]  # four patches: no fifth fits into 64
    assert result["details"]["crop"] == 56 and result["details"]["maps"] == [[64, 4, 4]]
    curve = result["details"]["loss_curve"]
    assert curve["step"] == list(range(1, 13)) and len(curve["loss"]) == 12
    assert not list((cli.cache / "training").glob("*/*")) and "nothing to do" in cli(*_again(more)).err
    verified = cli("verify", tmp_path / "out")
    assert verified.code == 0 and "1 of 1 results reproduced" in verified.out


def _again(more: tuple[str | Path, ...]) -> tuple[str | Path, ...]:
    return ("run", "--checkpoint", "random:test_vit?patch_size=14&img_size=70", "--name", "vit", *more)


def test_fewer_layers_than_a_protocol_sees_are_listed_and_skipped(cli: CommandLine, tmp_path: Path) -> None:
    more = ("--suite", "dense-full", "--data", SCENES, "--out", tmp_path, "--dry-run")
    outcome = cli("run", "--checkpoint", "random:test_vit?depth=3", *more)
    assert outcome.code == 0 and "needs maps of 4 layers; found 3" in " ".join(outcome.err.split())
