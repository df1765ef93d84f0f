"""What `inspect` shows is all that a reader needs, for programs and for people."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from benchmark.checkpoints.account import account
from benchmark.checkpoints.archive import Archive, open_archive
from benchmark.checkpoints.encoder import find_encoder
from benchmark.checkpoints.report import describe, render


def state(prefix: str) -> dict[str, Any]:
    net = nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 3), "bn1": nn.BatchNorm2d(4)})
    return {f"{prefix}{name}": value for name, value in net.state_dict().items()}


def moco(path: Path) -> Archive:
    content = {**state("module.encoder_q."), **state("module.encoder_k."), "module.queue": torch.ones(2)}
    content["module.encoder_q.fc.weight"] = torch.ones(2, 4)
    torch.save({"state_dict": content, "epoch": 1, "args": argparse.Namespace(lr=0.1)}, path)
    return open_archive(path)


def shown(report: dict[str, Any]) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(render(report))
    return console.export_text()


def test_the_report_has_every_fact_and_survives_json(tmp_path: Path) -> None:
    archive = moco(tmp_path / "moco.pth")
    expected = {name.removeprefix("p."): value for name, value in state("p.").items()}
    encoder = find_encoder(archive, layout="moco", expected=expected)
    report = describe(archive, encoder, account(encoder, expected, {"fc"}))
    assert json.loads(json.dumps(report)) == report
    assert report["format"] == "torch-zip"
    assert report["sha256"] == archive.sha256
    assert report["placeholders"] == [{"name": "argparse.Namespace", "count": 1, "where": "args"}]
    assert [c["key"] for c in report["candidates"]] == ["state_dict.module.encoder_q", "state_dict.module.encoder_k"]
    assert report["encoder"]["key"] == "state_dict.module.encoder_q"
    assert report["encoder"]["layout"] == "moco"
    assert report["encoder"]["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert report["encoder"]["ignored"] == {"epoch": "training progress", "args": "training settings"}
    assert report["account"]["matched"] == len(expected)
    dropped = report["account"]["dropped"]
    assert dropped["projection head of a method without labels"] == ["fc.weight"]
    assert dropped["memory of the training method"] == ["module.queue"]
    assert sum(len(names) for names in dropped.values()) == 2 + len(expected)
    text = shown(report)
    for word in (
        archive.sha256,
        "argparse.Namespace",
        "state_dict.module.encoder_q",
        "memory of the training method",
        "moco",
    ):
        assert word in text


def test_without_a_choice_the_possible_encoders_are_shown(tmp_path: Path) -> None:
    report = describe(moco(tmp_path / "moco.pth"))
    assert report["encoder"] is None
    text = shown(report)
    assert "state_dict.module.encoder_k" in text
    assert "--key" in text


def test_names_from_a_file_are_not_read_as_markup(tmp_path: Path) -> None:
    path = tmp_path / "f.pth"
    torch.save({"state_dict": state(""), "[bold]x[/nope]": 1}, path)
    archive = open_archive(path)
    assert "[bold]x[/nope]" in shown(describe(archive, find_encoder(archive)))
