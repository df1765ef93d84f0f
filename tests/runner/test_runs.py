"""A run makes every cell once, keeps what it made, and gives the same figures however it got there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from tests.command import CommandLine

SCENES = "scenes=scenes:?train=150&test=80&classes=5&size=32&difficulty=0.2"
MODEL = ("--checkpoint", "random:test_resnet", "--preprocess", "size=32", "crop_pct=1")


def run(cli: CommandLine, out: Path, *more: str | Path, data: str = SCENES, suite: str = "frozen") -> Any:
    return cli("run", *MODEL, "--suite", suite, "--data", data, "--out", out, *more)


def figures(out: Path) -> dict[str, Any]:
    """Every stored figure by cell and metric."""
    found = {}
    for path in sorted(out.glob("results/*/*/*.json")):
        result = json.loads(path.read_text())
        for metric in result["metrics"]:
            found[f"{path.relative_to(out)} {metric['name']}"] = (metric["value"], metric["ci_low"], metric["ci_high"])
    return found


def test_the_frozen_battery_ends_with_a_table_and_verified_results(cli: CommandLine, tmp_path: Path) -> None:
    outcome = run(cli, tmp_path / "out")
    assert outcome.code == 0, outcome.err
    for protocol in ("knn/dino", "nmc/cosine", "logreg/sweep", "fewshot/proto", "lowshot/logreg"):
        assert protocol in outcome.out
    frame = pd.read_csv(pd.io.common.StringIO(cli("table", tmp_path / "out", "--format", "csv").out))
    assert set(frame.task) == {"knn", "nmc", "linear", "fewshot", "lowshot"}
    assert (frame.status == "done").all() and frame.value.notna().all()
    assert ((frame.ci_low <= frame.value) & (frame.value <= frame.ci_high)).all()
    verified = cli("verify", tmp_path / "out")
    assert verified.code == 0 and "5 of 5 results reproduced" in verified.out


def test_the_same_command_again_makes_and_encodes_nothing(cli: CommandLine, tmp_path: Path) -> None:
    run(cli, tmp_path, suite="quick")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = run(cli, tmp_path, suite="quick")
    assert again.code == 0 and "nothing to do" in again.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before


def test_a_deleted_result_is_made_again_from_stored_features(cli: CommandLine, tmp_path: Path) -> None:
    run(cli, tmp_path, suite="quick")
    before = figures(tmp_path)
    next(tmp_path.glob("results/*/nmc/*.json")).unlink()
    again = run(cli, tmp_path, suite="quick")
    assert "to encode: nothing" in again.err and "1 cells made" in again.err
    assert figures(tmp_path) == before


def test_batch_size_and_workers_do_not_touch_the_figures(cli: CommandLine, tmp_path: Path) -> None:
    tasks = ("--task", "knn", "nmc", "fewshot", "lowshot")
    run(cli, tmp_path / "a", *tasks, "--batch-size", "7", "--workers", "2", "--cache", tmp_path / "ca")
    run(cli, tmp_path / "b", *tasks, "--batch-size", "64", "--workers", "0", "--cache", tmp_path / "cb")
    first, second = figures(tmp_path / "a"), figures(tmp_path / "b")
    assert first.keys() == second.keys()
    for name, values in first.items():
        # other batch shapes may take other kernels, whose last bits can flip one sample in a near tie
        assert values == pytest.approx(second[name], abs=2.0), name


def test_several_seeds_are_cells_of_their_own_and_a_seedless_task_has_one(cli: CommandLine, tmp_path: Path) -> None:
    assert run(cli, tmp_path, "--task", "knn", "fewshot", "--seeds", "0,1").code == 0
    assert len(list(tmp_path.glob("results/*/fewshot/*.json"))) == 2
    assert len(list(tmp_path.glob("results/*/knn/*.json"))) == 1


def test_an_override_becomes_part_of_the_protocols_name(cli: CommandLine, tmp_path: Path) -> None:
    assert run(cli, tmp_path, "--set", "knn.temperature=0.2", suite="quick").code == 0
    (path,) = tmp_path.glob("results/*/knn/*.json")
    assert json.loads(path.read_text())["protocol"]["name"] == "knn/dino+temperature=0.2"


def test_a_dry_run_shows_the_plan_and_writes_nothing(cli: CommandLine, tmp_path: Path) -> None:
    outcome = run(cli, tmp_path / "out", "--dry-run")
    assert outcome.code == 0 and "to encode: 230" in outcome.err and "lowshot" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_task_without_meaning_on_the_data_is_listed_and_no_failure(cli: CommandLine, tmp_path: Path) -> None:
    outcome = run(cli, tmp_path, data=SCENES + "&multilabel=true")
    assert outcome.code == 0, outcome.err
    assert "not applicable" in outcome.err
    assert not list(tmp_path.glob("results/*/nmc/*"))
    (path,) = tmp_path.glob("results/*/knn/*.json")
    assert json.loads(path.read_text())["headline"].startswith("mAP")


def test_a_result_can_be_traced(cli: CommandLine, tmp_path: Path) -> None:
    run(cli, tmp_path, suite="quick")
    result = json.loads(next(tmp_path.glob("results/*/knn/*.json")).read_text())
    assert len(result["model"]["weights_hash"]) >= 32
    assert result["model"]["preprocessing"]["size"] == [32, 32]
    assert result["data"]["n_train"] == 150 and result["data"]["n_reported"] == 80
    assert result["provenance"]["libraries"]["torch"]
    assert result["provenance"]["wall_time_s"] > 0
    (log,) = tmp_path.glob("runs/*.jsonl")
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events[0] == "start" and events[-1] == "end" and events.count("cell") == 2


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for split, count in (("train", 6), ("test", 4)):
        for label, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
            folder = root / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                shade = tuple(min(255, channel + 5 * index + (3 if split == "test" else 0)) for channel in colour)
                Image.new("RGB", (40, 36), shade).save(folder / f"{index}.png")
    return root


def test_unreadable_images_stop_the_run_with_their_names(cli: CommandLine, tmp_path: Path, photos: Path) -> None:
    (photos / "train/red/2.png").write_bytes(b"\x89PNG not an image")
    outcome = run(cli, tmp_path / "out", data=f"p=folder:{photos}", suite="quick")
    assert outcome.code == 2
    assert "train/red/2.png" in outcome.err and "--on-bad-image skip" in outcome.err
    assert not list((tmp_path / "out").glob("results/*/*/*.json"))


def test_skipped_images_are_recorded_in_the_result(cli: CommandLine, tmp_path: Path, photos: Path) -> None:
    (photos / "train/red/2.png").write_bytes(b"\x89PNG not an image")
    (photos / "test/blue/0.png").write_bytes(b"")
    outcome = run(cli, tmp_path / "out", "--on-bad-image", "skip", data=f"p=folder:{photos}", suite="quick")
    assert outcome.code == 0, outcome.err
    result = json.loads(next((tmp_path / "out").glob("results/*/knn/*.json")).read_text())
    assert result["data"]["skipped"] == {"train": ["train/red/2.png"], "test": ["test/blue/0.png"]}
    assert result["data"]["n_train"] == 11 and result["data"]["n_reported"] == 7
    assert result["metrics"][0]["n"] == 7


def test_changed_data_under_the_same_name_is_not_mixed_in(cli: CommandLine, tmp_path: Path, photos: Path) -> None:
    data = f"p=folder:{photos}"
    run(cli, tmp_path / "out", data=data, suite="quick")
    Image.new("RGB", (40, 36), (0, 255, 0)).save(photos / "train/red/0.png")
    outcome = run(cli, tmp_path / "out", data=data, suite="quick")
    assert outcome.code == 2 and "data" in outcome.err and "--overwrite always" in outcome.err
    replaced = run(cli, tmp_path / "out", "--overwrite", "always", data=data, suite="quick")
    assert replaced.code == 0 and "2 cells made" in replaced.err


def test_another_checkpoint_under_the_same_name_is_not_mixed_in(cli: CommandLine, tmp_path: Path) -> None:
    run(cli, tmp_path, "--name", "m", suite="quick")
    outcome = cli(
        "run", "--checkpoint", "random:test_vit", "--name", "m", "--suite", "quick", "--data", SCENES, "--out", tmp_path
    )
    assert outcome.code == 2 and "weights" in outcome.err
