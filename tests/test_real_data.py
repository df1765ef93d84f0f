"""The whole path on real weights and real photos, against figures made with timm, PIL and scikit-learn alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.command import CommandLine

pytestmark = [pytest.mark.data, pytest.mark.slow]

# Resize 256 bicubic, CenterCrop 224, mean .5, std .5, pooled 1280-d feature (see the data folder's README).
REFERENCE = {
    ("knn", "top1@k10"): (77.96, 0.6),
    ("knn", "top1@k20"): (80.11, 0.6),
    ("knn", "top1@k100"): (80.65, 0.6),
    ("knn", "top1@k200"): (81.18, 0.6),
    ("nmc", "top1"): (80.91, 0.6),
    ("linear", "top1"): (84.4, 1.5),
}
RANDOM = {("knn", "top1@k20"): 22, ("nmc", "top1"): 16, ("linear", "top1"): 27}


def figures(cli: CommandLine, out: Path) -> dict[tuple[str, str], float]:
    frame = pd.read_csv(io.StringIO(cli("table", out, "--format", "csv").out))
    assert (frame.status == "done").all()
    return {(row.task, row.metric): row.value for row in frame.itertuples()}


def test_mobilenet_on_clothes_gives_the_reference_figures(cli: CommandLine, data_dir: Path, tmp_path: Path) -> None:
    arguments = (
        "run",
        "--checkpoint",
        data_dir / "checkpoints/mobilenetv2_100.coral_qat_in1k.pth",
        "--arch",
        "mobilenetv2_100?pad_type=same",
        "--preprocess",
        "mean=0.5",
        "std=0.5",
        "--suite",
        "frozen",
        "--data",
        f"clothing10=folder:{data_dir / 'clothing10'}",
        "--out",
        tmp_path / "a",
    )
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    found = figures(cli, tmp_path / "a")
    for key, (expected, tolerance) in REFERENCE.items():
        assert found[key] == pytest.approx(expected, abs=tolerance), key
    again = cli(*arguments)
    assert again.code == 0 and "nothing to do" in again.err
    assert cli("verify", tmp_path / "a").code == 0


def test_random_weights_on_clothes_are_far_below(cli: CommandLine, data_dir: Path, tmp_path: Path) -> None:
    outcome = cli(
        "run",
        "--checkpoint",
        "random:mobilenetv2_100?pad_type=same",
        "--preprocess",
        "mean=0.5",
        "std=0.5",
        "--task",
        "knn",
        "nmc",
        "linear",
        "--data",
        f"clothing10=folder:{data_dir / 'clothing10'}",
        "--out",
        tmp_path,
    )
    assert outcome.code == 0, outcome.err
    found = figures(cli, tmp_path)
    for key, expected in RANDOM.items():
        assert found[key] == pytest.approx(expected, abs=7), key  # another draw of weights, another few points


def test_the_published_training_checkpoint_is_refused_without_a_factory(
    cli: CommandLine, data_dir: Path, tmp_path: Path
) -> None:
    path = data_dir / "checkpoints/mobilenetV1X0.25_pretrain.tar"
    for arch in ((), ("--arch", "mobilenetv1_100"), ("--arch", "resnet18")):
        outcome = cli("run", "--checkpoint", path, *arch, "--data", "s=scenes:", "--out", tmp_path / "out")
        assert outcome.code == 2 and len(outcome.err.strip().splitlines()) == 1
        assert "python:module:factory" in outcome.err
    assert not (tmp_path / "out").exists()


FACTORY = """
from torch import nn

def block(a, b, stride):
    return nn.Sequential(
        nn.Conv2d(a, a, 3, stride, 1, groups=a, bias=False), nn.BatchNorm2d(a), nn.LeakyReLU(0.1),
        nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.1))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
        first = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        second = [(64, 128, 2)] + [(128, 128, 1)] * 5
        self.stage1 = nn.Sequential(stem, *(block(*spec) for spec in first))
        self.stage2 = nn.Sequential(*(block(*spec) for spec in second))
        self.stage3 = nn.Sequential(block(128, 256, 2), block(256, 256, 1))
        self.avg = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(256, 1000)

    def forward(self, x):
        return self.fc(self.avg(self.stage3(self.stage2(self.stage1(x)))).flatten(1))

def mobilenet():
    return Net()
"""


def test_the_published_training_checkpoint_loads_with_a_factory(
    cli: CommandLine, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "factory_of_mine.py").write_text(FACTORY)
    outcome = cli(
        "inspect",
        data_dir / "checkpoints/mobilenetV1X0.25_pretrain.tar",
        "--arch",
        f"python:{tmp_path / 'factory_of_mine.py'}:mobilenet",
        "--json",
    )
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert "state_dict" in json.dumps(report) and "optimizer" in json.dumps(report)
    run = cli(
        "run",
        "--checkpoint",
        data_dir / "checkpoints/mobilenetV1X0.25_pretrain.tar",
        "--arch",
        f"python:{tmp_path / 'factory_of_mine.py'}:mobilenet",
        "--suite",
        "quick",
        "--data",
        f"clothing10=folder:{data_dir / 'clothing10'}",
        "--out",
        tmp_path / "out",
    )
    assert run.code == 0, run.err
    assert figures(cli, tmp_path / "out")["knn", "top1@k20"] > 50
