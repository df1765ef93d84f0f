"""Images from elsewhere, conflicting cues and the published corruptions, from the command line to `verify`."""

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
from benchmark.metrics.corruptions import ALEXNET, FIFTEEN
from tests.command import CommandLine, words

MODEL = ("--checkpoint", "random:test_resnet", "--preprocess", "size=32", "crop_pct=1")
SCENES = "scenes:?train=40%26test=24%26classes=4%26size=48%26difficulty="
WNIDS = tuple(imagenet_classes())


@pytest.fixture
def supervised(tmp_path: Path) -> tuple[str, ...]:
    """A file of weights with a classifier over ImageNet."""
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=1000).state_dict(), tmp_path / "net.pth")
    return ("--checkpoint", str(tmp_path / "net.pth"), "--arch", "test_resnet")


def suite_of(folder: Path, *protocols: str) -> Path:
    path = folder / "suite.yaml"
    tasks = [{"task": "robustness", "protocol": f"robust/{name}"} for name in protocols]
    path.write_text(json.dumps({"name": "shifts", "tasks": [{"task": "linear"}, *tasks]}))
    return path


def results(out: Path) -> dict[str, dict[str, Any]]:
    found = (json.loads(path.read_text()) for path in out.glob("results/*/*/*.json"))
    return {f"{each['data']['name']}:{each['protocol']['name']}": each for each in found}


def figures(result: dict[str, Any]) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in result["metrics"]}


def picture(path: Path, seed: int, size: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_a_pair_of_sources(cli: CommandLine, tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "shift", "corruptions", "imagenet-c", "shape-bias")
    clean = SCENES.replace("%26", "&") + "0"
    pair = ("--shift", f"clean={clean}", f"harder={SCENES.replace('%26', '&')}0.9")
    call = ("run", *MODEL, "--suite", suite, *pair, "--workers", "0")
    outcome = cli(*call, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    (found,) = results(tmp_path / "a").values()  # the linear task and the corruptions are not about pairs
    assert found["protocol"]["name"] == "robust/shift" and found["headline"] == "top1"
    assert found["data"]["source"].startswith("shift:?clean=scenes:?train=40%26")
    alone = cli("run", *MODEL, "--suite", suite, "--data", f"easy={clean}", "--task", "linear", "--out", tmp_path / "l")
    assert alone.code == 0, alone.err
    (linear,) = results(tmp_path / "l").values()
    assert figures(found)["top1@clean"] == figures(linear)["top1"]  # the same head on the same features
    table = pq.read_table(tmp_path / "a" / found["predictions"]).to_pylist()
    shifted = [row for row in table if row["variant"] == "shifted"]
    assert len(shifted) == 24
    assert figures(found)["top1"] == pytest.approx(100 * np.mean([r["prediction"] in r["accepted"] for r in shifted]))
    assert cli("verify", tmp_path / "a").code == 0
    again = cli(*call, "--out", tmp_path / "b", "--batch-size", "5")
    assert again.code == 0 and results(tmp_path / "b")["harder:robust/shift"]["metrics"] == found["metrics"]


def test_a_subset_of_the_classes_is_judged_among_itself(cli: CommandLine, tmp_path: Path) -> None:
    for label, shade in zip("abc", (0, 1, 2), strict=True):
        for k in range(8):
            picture(tmp_path / "clean/train" / label / f"{k}.png", 100 * shade + k)
            picture(tmp_path / "clean/test" / label / f"{k}.png", 100 * shade + 50 + k)
            if label != "b":
                picture(tmp_path / "art" / label / f"{k}.png", 100 * shade + 80 + k)
    pair = ("--shift", f"clean=folder:{tmp_path}/clean", f"art=folder:{tmp_path}/art")
    outcome = cli(
        "run", *MODEL, "--suite", suite_of(tmp_path, "shift"), *pair, "--out", tmp_path / "a", "--workers", "0"
    )
    assert outcome.code == 0, outcome.err
    (found,) = results(tmp_path / "a").values()
    table = pq.read_table(tmp_path / "a" / found["predictions"]).to_pylist()
    assert {row["prediction"] for row in table} <= {0, 2} and found["details"]["classes"] == 2
    assert {row["accepted"][0] for row in table if row["variant"] == "clean"} == {0, 2}
    assert found["details"]["clean_images"] == 16 and found["details"]["shifted_images"] == 16


def test_what_makes_no_sense_is_one_line(cli: CommandLine, tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "shift")
    call = ("run", *MODEL, "--suite", suite, "--out", tmp_path / "a")
    clean = "clean=scenes:?train=8&test=4&classes=2&size=32"
    for shift, complaint in (
        ((clean,), "--shift clean=SOURCE and another NAME=SOURCE; found clean"),
        (("clean", "b=scenes:"), "--shift clean=SOURCE NAME=SOURCE; found 'clean'"),
        ((clean, "b=scenes:", "c:map=shared"), "an option of b; found c:map=shared"),
        ((clean, "b=scenes:?classes=3", "b:map=nosuch"), "a class map; found no file and no shipped map 'nosuch'"),
        ((clean, "b=scenes:?classes=3&size=32"), "shifted classes that the clean dataset has"),
        ((clean, f"b=folder:{tmp_path}/none"), "a folder of images"),
    ):
        outcome = cli(*call, "--shift", *shift)
        assert outcome.code == 2 and complaint in words(outcome.err) and outcome.err.count("\n") <= 3, outcome.err
    outcome = cli(*call, "--data", "b=scenes:", "--shift", clean, "b=scenes:")
    assert outcome.code == 2 and "'b' in --data and --shift" in words(outcome.err)


def cue_conflict(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        picture(folder / name.rstrip("0123456789").split("-")[0].rstrip("0123456789") / f"{name}.png", seed)


def test_cue_conflicts_by_class_means_and_by_the_checkpoints_own_head(
    cli: CommandLine, tmp_path: Path, supervised: tuple[str, ...]
) -> None:
    bears, cats = ["n02132136", "n02133161"], ["n02123045"]
    for k, label in enumerate([*bears, *cats, WNIDS[0]]):
        for image in range(6):
            picture(tmp_path / "in/train" / label / f"{image}.png", 10 * k + image)
            picture(tmp_path / "in/val" / label / f"{image}.png", 500 + 10 * k + image)
    cue_conflict(
        tmp_path / "cues", [f"{a}{i}-{b}{i}" for i in range(1, 13) for a, b in (("bear", "cat"), ("cat", "bear"))]
    )
    cue_conflict(tmp_path / "cues", ["bear1-bear2"])
    class_map = tmp_path / "two.yaml"
    class_map.write_text(json.dumps({"classes": {"bear": bears, "cat": cats}}))
    pair = ("--shift", f"clean=folder:{tmp_path}/in", f"cues=folder:{tmp_path}/cues", f"cues:map={class_map}")
    call = ("run", *supervised, *MODEL[2:], "--suite", suite_of(tmp_path, "shape-bias"), *pair, "--workers", "0")
    for out, setting in (("a", ()), ("b", ("--set", "robustness.head=own"))):
        outcome = cli(*call, "--out", tmp_path / out, *setting)
        assert outcome.code == 0, outcome.err
        (found,) = results(tmp_path / out).values()
        table = pq.read_table(tmp_path / out / found["predictions"]).to_pylist()
        conflicts = [row for row in table if row["shape"] != row["texture"]]
        assert len(conflicts) == 24 and len(table) == 25
        shapes = sum(row["prediction"] == row["shape"] for row in conflicts)
        textures = sum(row["prediction"] == row["texture"] for row in conflicts)
        assert figures(found)["shape_bias"] == pytest.approx(100 * shapes / (shapes + textures))
        assert cli("verify", tmp_path / out).code == 0
    assert found["data"]["n_train"] == 0  # the checkpoint's own head needs no training image
    picture(tmp_path / "cues/bear/holiday.png", 1)
    outcome = cli(*call, "--out", tmp_path / "c")
    assert outcome.code == 1 and "shapeN-textureM.png; found 'bear/holiday.png'" in words(outcome.err + outcome.out)


@pytest.mark.slow
def test_the_published_files_of_imagenet_c(cli: CommandLine, tmp_path: Path, supervised: tuple[str, ...]) -> None:
    model = (*supervised, "--preprocess", "size=224", "crop_pct=1")
    root = tmp_path / "in"
    for label in WNIDS:
        picture(root / "train" / label / "0.png", 0, size=1)
    names = [f"{label}/ILSVRC2012_val_{k:08d}" for k, label in enumerate(WNIDS[:3])]
    for seed, name in enumerate(names):
        picture(root / "val" / f"{name}.png", seed, size=224)
        for corruption in FIFTEEN:
            for severity in range(1, 6):
                picture(tmp_path / "c" / corruption / str(severity) / f"{name}.png", 7 * severity + seed, size=224)
    pair = ("--shift", f"clean=folder:{root}", f"c=imagenet-c:{tmp_path}/c")
    call = ("run", *model, "--suite", suite_of(tmp_path, "imagenet-c", "shift"), *pair, "--workers", "0")
    call = (*call, "--set", "robustness.head=own")
    outcome = cli(*call, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    (found,) = results(tmp_path / "a").values()
    table = pq.read_table(tmp_path / "a" / found["predictions"]).to_pylist()
    errors = {name: np.mean([[k != row["target"] for k in row[name]] for row in table]) for name in FIFTEEN}
    by_hand = 100 * np.mean([errors[name] / ALEXNET[name] for name in FIFTEEN])
    assert found["headline"] == "mCE" and figures(found)["mCE"] == pytest.approx(by_hand)
    assert cli("verify", tmp_path / "a").code == 0
    picture(tmp_path / "c/fog/3" / f"{names[1]}.png", 1, size=200)
    outcome = cli(*call, "--out", tmp_path / "b")
    assert outcome.code == 2 and "an image of 200x200 where the files have 224x224" in words(outcome.err)
    (tmp_path / "c/fog").rename(tmp_path / "fog")
    outcome = cli(*call, "--out", tmp_path / "b")
    assert outcome.code == 2 and "found no fog" in words(outcome.err), outcome.err
