"""Occlusion, frequency and colour from the command line: run, verify, and the same figures whatever the batch size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmark.metrics.changes import curves
from tests.command import CommandLine, words

SCENES = "scenes=scenes:?train=40&test=12&classes=4&size=48&difficulty=0"
MODEL = ("--checkpoint", "random:test_resnet", "--preprocess", "size=32", "crop_pct=1")
LEVELS = {"occlusion": {"dropped": [0, 50], "shuffled": [2, 4]}, "frequency": {"cutoffs": [3, 8]}, "colour": {}}
KINDS = {"occlusion": {"drop", "shuffle"}, "frequency": {"low-pass", "high-pass"}, "colour": {"grey", "hue"}}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    tasks = [{"task": "linear"}]
    tasks += [{"task": "robustness", "protocol": f"robust/{name}", "settings": LEVELS[name]} for name in LEVELS]
    path.write_text(json.dumps({"name": "changes", "tasks": tasks}))
    return path


def results(out: Path) -> dict[str, dict[str, Any]]:
    """By the part's name."""
    read = [json.loads(path.read_text()) for path in out.glob("results/*/robustness/*.json")]
    return {result["protocol"]["name"].split("/")[1].split("+")[0]: result for result in read}


@pytest.mark.slow
def test_every_kind_of_change_is_run_verified_and_free_of_the_batch_size(
    cli: CommandLine, tmp_path: Path, suite: Path
) -> None:
    common = (*MODEL, "--suite", suite, "--data", SCENES, "--workers", "0")
    outcome = cli("run", *common, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    (linear,) = (tmp_path / "a").glob("results/*/linear/*.json")
    clean = {metric["name"]: metric["value"] for metric in json.loads(linear.read_text())["metrics"]}["top1"]
    found = results(tmp_path / "a")
    assert set(found) == set(LEVELS)
    for name, result in found.items():
        figures = {metric["name"]: metric["value"] for metric in result["metrics"]}
        assert figures["top1"] == clean  # the same head on the same features
        assert result["headline"] == "top1@changed" and result["scorer"]["name"] == "changes"
        stored = curves(pq.read_table(tmp_path / "a" / result["predictions"]))
        assert set(stored) == KINDS[name]
        means = {kind: figures[f"top1@{kind}"] for kind in stored}
        assert figures["top1@changed"] == pytest.approx(sum(means.values()) / 2)
        for kind, curve in stored.items():
            for level, top1 in zip(curve.levels, curve.top1, strict=True):
                assert figures.get(f"top1@{kind}-{level:g}", top1) == pytest.approx(top1)
    assert {metric["name"] for metric in found["colour"]["metrics"]} >= {"top1@histogram", "r2@histogram"}
    assert cli("verify", tmp_path / "a").code == 0
    smaller = cli("run", *common, "--out", tmp_path / "b", "--batch-size", "5", "--task", "robustness")
    assert smaller.code == 0, smaller.err
    for name, result in results(tmp_path / "b").items():
        for one, other in zip(result["metrics"], found[name]["metrics"], strict=True):
            assert one == pytest.approx(other, abs=1e-4), name


def test_the_protocols_are_listed_and_small_encoders_refused(cli: CommandLine, tmp_path: Path) -> None:
    listed = words(cli("list", "protocols").out)
    assert all(f"robust/{name}" in listed for name in LEVELS)
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps({"name": "x", "tasks": [{"task": "robustness", "protocol": "robust/frequency"}]}))
    outcome = cli("run", *MODEL, "--suite", path, "--data", SCENES, "--out", tmp_path / "a", "--dry-run")
    assert outcome.code == 0 and "needs images of 128 pixels a side, which have 64 cycles" in words(outcome.err)


def test_settings_that_make_no_sense_are_refused_in_one_line(cli: CommandLine, tmp_path: Path, suite: Path) -> None:
    wrong = ("--set", "robustness.turned=[45]")
    path = tmp_path / "colour.yaml"
    path.write_text(json.dumps({"name": "x", "tasks": [{"task": "robustness", "protocol": "robust/colour"}]}))
    outcome = cli("run", *MODEL, "--suite", path, "--data", SCENES, "--out", tmp_path / "a", *wrong)
    assert outcome.code == 2 and "multiple of 60" in outcome.err and len(outcome.err.strip().splitlines()) == 1
