"""A request that makes no sense: one line, exit 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from tests.command import CommandLine
from tests.runner.test_runs import SCENES


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of right and wrong checkpoints and images."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet")
    torch.save(model.state_dict(), tmp_path / "good.pth")
    (tmp_path / "truncated.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:-5000])
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("<html>404</html>")
    broken = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    next(iter(broken.values()))[0, 0, 0, 0] = float("nan")
    torch.save(broken, tmp_path / "nan.pth")
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "padded.pth")
    for name, classes in {
        "nothing": {"train": [], "test": []},
        "one": {"train": ["a"], "test": ["a"]},
        "stranger": {"train": ["a", "b"], "test": ["a", "b", "c"]},
        "fine": {"train": ["a", "b"], "test": ["a", "b"]},
    }.items():
        for split, labels in classes.items():
            (tmp_path / name / split).mkdir(parents=True)
            for label in labels:
                (tmp_path / name / split / label).mkdir()
                Image.new("RGB", (8, 8), hash_colour(label + split)).save(tmp_path / name / split / label / "0.png")
    return tmp_path


def hash_colour(text: str) -> tuple[int, int, int]:
    value = sum(map(ord, text))
    return value % 256, value * 7 % 256, value * 31 % 256


GOOD = ["--checkpoint", "{f}/good.pth", "--arch", "test_resnet"]
DATA = ["--data", SCENES]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--checkpoint", "{f}/truncated.pth", "--arch", "test_resnet", *DATA], ["truncated.pth"]),
        (["--checkpoint", "{f}/empty.pth", "--arch", "test_resnet", *DATA], ["empty.pth"]),
        (["--checkpoint", "{f}/text.pth", "--arch", "test_resnet", *DATA], ["text.pth"]),
        (["--checkpoint", "{f}/nan.pth", "--arch", "test_resnet", *DATA], ["NaN"]),
        (["--checkpoint", "{f}/absent.pth", "--arch", "test_resnet", *DATA], ["absent.pth"]),
        (["--checkpoint", "{f}", "--arch", "test_resnet", *DATA], ["folder", "directory"]),
        (["--checkpoint", "{f}/good.pth", "--arch", "test_vit", *DATA], ["test_resnet"]),
        (["--checkpoint", "{f}/good.pth", "--arch", "tset_resnet", *DATA], ["test_resnet"]),
        (["--checkpoint", "{f}/padded.pth", *DATA], ["pad_type=same"]),
        (["--checkpoint", "{f}/good.pth", "--layout", "mocco", *DATA], ["moco"]),
        (["--checkpoint", "{f}/good.pth", "--layout", "moco", *DATA], ["moco"]),
        ([*GOOD, "--data", "d=folder:{f}/nothing"], ["nothing"]),
        ([*GOOD, "--data", "d=folder:{f}/nowhere"], ["nowhere"]),
        ([*GOOD, "--data", "d=folder:{f}/one"], ["class"]),
        ([*GOOD, "--data", "d=folder:{f}/stranger"], ["'c'"]),
        ([*GOOD, "--data", "d=fodler:{f}/fine"], ["folder"]),
        ([*GOOD, "--data", "folder:{f}/fine"], ["NAME=SOURCE"]),
        ([*GOOD, "--data", "s=scenes:?dificulty=1"], ["difficulty"]),
        ([*GOOD, *DATA, "--suite", "frozn"], ["frozen"]),
        ([*GOOD, *DATA, "--task", "kn"], ["knn"]),
        ([*GOOD, *DATA, "--set", "knn.temprature=1"], ["temperature"]),
        ([*GOOD, *DATA, "--set", "knn.temperature=warm"], ["temperature"]),
        ([*GOOD, *DATA, "--set", "knn.protocol=knn/dion"], ["knn/dino"]),
        ([*GOOD, *DATA, "--set", "knn.representation=cls"], ["gap"]),
        ([*GOOD, *DATA, "--seeds", "0,x"], ["--seeds"]),
        ([*GOOD, *DATA, "--preprocess", "maen=0.5"], ["mean"]),
        ([*GOOD, *DATA, "--device", "tpu"], ["cpu"]),
        ([*GOOD, *DATA, "--chekpoint", "x"], ["--checkpoint"]),
        ([*DATA], ["--checkpoint"]),
    ],
)
def test_it_is_refused_in_one_line_and_nothing_is_written(
    cli: CommandLine, files: Path, arguments: list[str], words: list[str]
) -> None:
    out = files / "out"
    outcome = cli("run", *(argument.format(f=files) for argument in arguments), "--out", out)
    assert outcome.code == 2, outcome.err
    assert len(outcome.err.strip().splitlines()) == 1, outcome.err
    assert any(word.lower() in outcome.err.lower() for word in words), outcome.err
    assert outcome.out == ""
    assert not out.exists() and not cli.cache.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["table"],
        ["table", "nowhere"],
        ["verify", "nowhere"],
        ["rn"],
        ["list", "taks"],
        ["check", "--baseline", "nowhere", "--candidate", "nowhere"],
        ["check", "--baseline", "nowhere"],
        ["inspect", "nowhere.pth"],
        ["inspect", "random:test_vit", "--audit"],
    ],
)
def test_other_commands_refuse_in_one_line_too(cli: CommandLine, arguments: list[str]) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("what", ["tasks", "suites", "protocols", "layouts", "sources", "models"])
def test_every_list_lists_something(cli: CommandLine, what: str) -> None:
    outcome = cli("list", what)
    assert outcome.code == 0 and len(outcome.out.splitlines()) > 4


def test_the_doctor_names_parts_and_the_device(cli: CommandLine) -> None:
    outcome = cli("doctor")
    assert outcome.code == 0
    assert "faiss-gpu" in outcome.out and "device:" in outcome.out and "feature cache:" in outcome.out


def test_debug_adds_the_traceback(cli: CommandLine) -> None:
    outcome = cli("table", "nowhere", "--debug")
    assert outcome.code == 2 and "Traceback" in outcome.err
