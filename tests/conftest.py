"""Fixtures that every floor's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command import CommandLine


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images and checkpoints, or a skip."""
    value = os.environ.get("TRANSFERBENCH_DATA")
    if not value:
        pytest.skip("TRANSFERBENCH_DATA is not set (real images and checkpoints)")
    path = Path(value)
    if not path.is_dir():
        raise FileNotFoundError(f"TRANSFERBENCH_DATA={value} is not a folder")
    return path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """The command line with a feature cache of its own."""
    return CommandLine(monkeypatch, capsys, tmp_path / "cache")
