"""Attacks from the command line: the linear task's head, figures that can be verified, and one line for mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.command import CommandLine, words

SCENES = "scenes=scenes:?train=40&test=12&classes=4&size=48&difficulty=0"
MODEL = ("--checkpoint", "random:test_resnet", "--preprocess", "size=32", "crop_pct=1", "--data", SCENES)


def suite(folder: Path, protocol: str, **settings: Any) -> Path:
    path = folder / "suite.yaml"
    attacked = {"task": "robustness", "protocol": protocol, "settings": settings}
    path.write_text(json.dumps({"name": "attacked", "tasks": [{"task": "linear"}, attacked]}))
    return path


def results(out: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in out.glob("results/*/*/*.json")]
    return {result["task"]: result for result in found}


@pytest.mark.slow
def test_the_battery_of_attacks(cli: CommandLine, tmp_path: Path) -> None:
    """At 64/255 AutoAttack is done with its first two attacks, where it is fast."""
    path = suite(tmp_path, "robust/adversarial", eps=[2, 64], autoattack=[64], autoattack_n=8, steps=4)
    arguments = (*MODEL, "--suite", path, "--workers", "0")
    outcome = cli("run", *arguments, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    found = results(tmp_path / "a")
    figures = {metric["name"]: metric["value"] for metric in found["robustness"]["metrics"]}
    assert figures["top1"] == found["linear"]["metrics"][0]["value"]  # the same head on the same features
    assert figures["top1"] > figures["top1@fgsm-2"] or figures["top1"] > figures["top1@pgd-2"]
    assert found["robustness"]["headline"] == "top1@autoattack-64"
    table = pq.read_table(tmp_path / "a" / found["robustness"]["predictions"])
    for name in ("fgsm-2", "fgsm-64", "pgd-2", "pgd-64"):
        hits = np.array(table[name]) == np.array(table["target"])
        assert figures[f"top1@{name}"] == pytest.approx(100 * hits.mean())
    assert table["autoattack-64"].null_count == 4
    assert found["robustness"]["provenance"]["libraries"]["pyautoattack"]
    assert cli("verify", tmp_path / "a").code == 0
    again = cli("run", *arguments, "--out", tmp_path / "b", "--batch-size", "5", "--task", "robustness")
    assert again.code == 0, again.err
    other = results(tmp_path / "b")["robustness"]
    assert other["metrics"] == found["robustness"]["metrics"]
    assert pq.read_table(tmp_path / "b" / other["predictions"]).equals(table)


def test_a_fraction_for_a_radius_is_refused_in_one_line(cli: CommandLine, tmp_path: Path) -> None:
    path = suite(tmp_path, "robust/adversarial@tiny")
    for value in ("0.0157", "4/255"):
        outcome = cli("run", *MODEL, "--suite", path, "--task", "robustness", "--set", f"robustness.eps={value}")
        assert outcome.code == 2 and f"found {value}; write 4 for 4/255" in words(outcome.err)


def test_a_missing_package_is_refused_with_the_line_that_installs_it(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    arguments = (*MODEL, "--suite", suite(tmp_path, "robust/adversarial"), "--out", tmp_path / "a", "--dry-run")
    outcome = cli("run", *arguments)
    assert outcome.code == 2 and "pip install 'transferbench[robust]'" in words(outcome.err)
    outcome = cli("run", *arguments, "--task", "robustness", "--set", "robustness.autoattack=[]")
    assert outcome.code == 0, outcome.err


def test_an_encoder_without_gradients_fails_and_is_not_ranked(cli: CommandLine, tmp_path: Path) -> None:
    module = tmp_path / "flat.py"
    module.write_text(
        "import timm\n"
        "class Flat(type(timm.create_model('test_resnet'))):\n"
        "    def forward_features(self, x):\n"
        "        return super().forward_features((x * 4).round() / 4)\n"
        "def flat():\n"
        "    model = timm.create_model('test_resnet')\n"
        "    model.__class__ = Flat\n"
        "    return model\n"
    )
    arguments = ("--checkpoint", f"python:{module}:flat", "--preprocess", "size=32", "crop_pct=1", "--data", SCENES)
    path = suite(tmp_path, "robust/adversarial@tiny", eps=[4])
    outcome = cli("run", *arguments, "--suite", path, "--out", tmp_path / "a", "--workers", "0", "--task", "robustness")
    assert outcome.code == 1 and "gradient of exactly 0 for every image" in words(outcome.err)
    assert results(tmp_path / "a")["robustness"]["status"] == "failed"
