"""Heads that are trained on an encoder run as every other task does: planned, resumed, verified, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from tests.command import CommandLine, words

SCENES = "scenes=scenes:?train=16&test=6&classes=3&size=64&difficulty=0"
RESNET = ("--checkpoint", "random:resnet10t", "--preprocess", "size=64")
VIT = ("--checkpoint", "random:vit_tiny_patch16_224?depth=4&embed_dim=48&num_heads=2&img_size=64")
SMALL = {"iterations": 4, "batch": 2, "warmup": 1, "train_images": 12}
DET = {**SMALL, "size": 64, "regions": 8, "proposals": 20}
PYRAMID = {**DET, "train_short": [64], "test_short": 64, "long": 64}
SEG = {**SMALL, "size": 64, "short": 64, "long": 128}
PROTOCOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "det/coco-maskrcnn-fpn@tiny": ("detection", {**PYRAMID, "width": 16}),
    "det/coco-retinanet-frozen@tiny": ("detection", {**PYRAMID, "width": 16}),
    "det/vitdet@tiny": ("detection", {**DET, "jitter": [0.8, 1.2], "width": 16, "window": 2}),
    "det/voc-c4-24k": ("detection", {**PYRAMID, "milestones": [3], "precise_norm": 2}),
    "seg/upernet@tiny": ("segmentation", {**SEG, "width": 8}),
    "seg/upernet-frozen@tiny": ("segmentation", {**SEG, "width": 8}),
    "seg/fcn-voc": ("segmentation", SEG),
}


def suite(folder: Path, *names: str) -> Path:
    tasks = [{"task": PROTOCOLS[name][0], "protocol": name, "settings": PROTOCOLS[name][1]} for name in names]
    path = folder / "suite.yaml"
    path.write_text(json.dumps({"name": "trained", "tasks": tasks}))
    return path


def results(out: Path) -> dict[str, Any]:
    found = [json.loads(path.read_text()) for path in sorted(out.glob("results/*/*/*.json"))]
    return {result["protocol"]["name"].partition("+")[0]: result for result in found}


def run(cli: CommandLine, out: Path, path: Path, model: tuple[str, ...] = RESNET, *more: str) -> Any:
    return cli("run", *model, "--suite", path, "--data", SCENES, "--workers", "0", "--out", out, *more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "names"),
    [
        (RESNET, ("det/coco-maskrcnn-fpn@tiny", "det/coco-retinanet-frozen@tiny", "det/voc-c4-24k")),
        (RESNET, ("seg/upernet@tiny", "seg/fcn-voc")),
        (VIT, ("det/vitdet@tiny", "seg/upernet@tiny", "seg/upernet-frozen@tiny")),
    ],
)
def test_trained_heads_give_figures_that_are_reproduced(
    cli: CommandLine, tmp_path: Path, model: tuple[str, ...], names: tuple[str, ...]
) -> None:
    outcome = run(cli, tmp_path / "out", suite(tmp_path, *names), model)
    assert outcome.code == 0, outcome.err
    found = results(tmp_path / "out")
    assert set(found) == set(names)
    for name, result in found.items():
        figures = {metric["name"] for metric in result["metrics"]}
        if name.startswith("seg"):
            assert figures >= {"mIoU", "mAcc", "aAcc"}
        elif name == "det/voc-c4-24k":
            assert result["scorer"]["name"] == "detection-voc" and figures >= {"AP", "AP50", "AP75"}
        else:
            assert figures >= {"AP", "AP50", "AP75"}
            assert ("mask_AP" in figures) == ("retinanet" not in name)
        curve = result["details"]["loss_curve"]
        assert curve["step"][-1] == 4 and len(curve["loss"]) == len(curve["step"])
        assert result["data"]["n_train"] == (12 if "train_images" in result["protocol"]["settings"] else 16)
        assert result["metrics"][0]["n"] == 6
    assert cli("verify", tmp_path / "out").code == 0
    assert not list((cli.cache / "training").glob("*"))  # a stored cell leaves nothing behind


@pytest.mark.slow
@pytest.mark.parametrize("name", ["det/coco-maskrcnn-fpn@tiny", "seg/upernet@tiny"])
def test_a_stopped_training_ends_as_one_that_was_not(
    cli: CommandLine, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite(tmp_path, name)
    assert run(cli, tmp_path / "whole", path).code == 0
    from tasks.openmmlab import train

    saved = train.save

    def stop(*arguments: Any) -> None:
        saved(*arguments)
        raise KeyboardInterrupt

    task = name[:3]
    module = pytest.importorskip(f"tasks.{'detection' if task == 'det' else 'segmentation'}.fit")
    trained = module.train
    monkeypatch.setattr(module, "train", lambda *a, **k: trained(*a, **{**k, "every": 2}))
    monkeypatch.setattr(train, "save", stop)
    assert run(cli, tmp_path / "cut", path).code == 130
    assert not results(tmp_path / "cut") and list((cli.cache / "training").glob("*/training.pth"))
    monkeypatch.setattr(train, "save", saved)
    outcome = run(cli, tmp_path / "cut", path)
    assert outcome.code == 0, outcome.err
    one, other = (results(tmp_path / folder)[name] for folder in ("whole", "cut"))
    assert one["metrics"] == other["metrics"] and one["predictions_sha256"] == other["predictions_sha256"]


def test_what_a_detector_cannot_stand_on_is_listed_and_skipped(cli: CommandLine, tmp_path: Path) -> None:
    path = suite(tmp_path, "det/vitdet@tiny", "det/coco-maskrcnn-fpn@tiny", "seg/fcn-voc")
    resnet = run(cli, tmp_path / "out", path, RESNET, "--dry-run")
    assert resnet.code == 0 and "needs a plain transformer, for ViTDet" in words(resnet.err)
    vit = run(cli, tmp_path / "out", path, VIT, "--dry-run")
    said = words(vit.err)
    assert "needs maps at strides 4, 8, 16 and 32 for an FPN" in said
    assert vit.code == 0 and said.count("not applicable") == 2


def broken_masks(root: Path) -> str:
    for split, count in (("train", 6), ("val", 3)):
        for index in range(count):
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(index).integers(0, 3, (64, 64), dtype=np.uint8)
            Image.fromarray(values * 80).convert("RGB").save(root / f"images/{split}/{index}.png")
            Image.fromarray(values).save(root / f"masks/{split}/{index}.png")
    for path in (root / "images/train/2.png", root / "images/val/1.png"):
        path.write_bytes(path.read_bytes()[:200])
    (root / "map.json").write_text('["a", "b", "c"]')
    return f"m=masks:{root}/images/{{split}},{root}/masks/{{split}}?labels={root}/map.json"


@pytest.mark.slow
def test_unreadable_images_stop_a_training_or_are_left_out_and_recorded(cli: CommandLine, tmp_path: Path) -> None:
    data, path = broken_masks(tmp_path / "m"), suite(tmp_path, "seg/upernet@tiny")
    common = ("run", *RESNET, "--suite", path, "--data", data, "--workers", "0", "--out", tmp_path / "out")
    stopped = cli(*common)
    assert stopped.code == 2 and "2.png" in stopped.err and not results(tmp_path / "out")
    outcome = cli(*common, "--on-bad-image", "skip")
    assert outcome.code == 0, outcome.err
    found = results(tmp_path / "out")["seg/upernet@tiny"]["data"]
    assert found["skipped"] == {"train": ["train/2.png"], "val": ["val/1.png"]}
    assert (found["n_train"], found["n_reported"]) == (5, 2)


def test_statistics_computed_anew_are_the_mean_over_batches() -> None:
    """Against the mean of each batch's own statistics, computed one by one."""
    from tasks.openmmlab.precise import recompute_statistics

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.still, self.norm = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)

        def train(self, mode: bool = True) -> Net:
            super().train(mode)
            self.still.eval()
            return self

        def data_preprocessor(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
            return batch

        def loss(self, inputs: torch.Tensor, data_samples: Any) -> dict[str, torch.Tensor]:
            return {"loss": (self.norm(inputs) + self.still(inputs)).mean()}

        def parse_losses(self, losses: dict[str, torch.Tensor]) -> tuple[torch.Tensor, None]:
            return losses["loss"], None

    data = [torch.randn(8, 3) * (i + 1) + i for i in range(5)]
    net = Net()
    recompute_statistics(net, [{"inputs": x, "data_samples": None} for x in data])
    assert torch.allclose(net.norm.running_mean, torch.stack([x.mean(0) for x in data]).mean(0), atol=1e-6)
    assert torch.allclose(net.norm.running_var, torch.stack([x.var(0) for x in data]).mean(0), rtol=1e-5)
    assert net.norm.momentum == 0.1 and torch.equal(net.still.running_mean, torch.zeros(3))
