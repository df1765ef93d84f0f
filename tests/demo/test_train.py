"""The script that makes the shipped files, run on next to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cyclopts import CycloptsError
from safetensors import safe_open

from benchmark.backbones.sources import open_backbone
from benchmark.demo.methods import ARCH
from benchmark.demo.pool import Pool, draw_pool
from benchmark.demo.train import METHODS, app


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes drawn in this process, and threads left as they are for the tests that follow."""

    def draw(images: int, **options: object) -> Pool:
        return draw_pool(images, workers=1)

    monkeypatch.setattr("benchmark.demo.train.draw_pool", draw)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)


@pytest.mark.usefixtures("few")
def test_the_script_writes_files_that_open_and_say_how_they_were_made(tmp_path: Path) -> None:
    app(["--out", str(tmp_path), "--images", "90", "--steps", "2", "--seed", "3"], result_action="return_value")
    assert {path.stem for path in tmp_path.iterdir()} == set(METHODS)
    for path in tmp_path.iterdir():
        assert open_backbone(str(path), arch=ARCH, preprocess=("size=64",)).dims["gap"] == 256
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"method": path.stem, "arch": ARCH, "images": "90", "steps": "2", "seed": "3"}


@pytest.mark.usefixtures("few")
def test_only_the_wanted_method_is_trained(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--images", "90", "--steps", "1", "--only", "masked"]
    app(arguments, result_action="return_value")
    assert [path.name for path in tmp_path.iterdir()] == ["masked.safetensors"]


@pytest.mark.parametrize("arguments", [["--only", "magic"], ["--steps", "0"], ["--images", "5"]])
def test_a_request_that_makes_no_sense_is_refused_before_anything_is_drawn(arguments: list[str]) -> None:
    with pytest.raises(CycloptsError):
        app(arguments, exit_on_error=False, print_error=False)
