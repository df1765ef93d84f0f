"""Whatever breaks, finished cells are kept, the message is one line, and the next run goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmark.protocol import ProtocolSettings
from benchmark.runner import plan
from benchmark.task import Inputs, Predictions, Task
from tests.command import CommandLine
from tests.runner.test_runs import MODEL, SCENES, figures, run

MANY = "scenes=scenes:?train=2500&test=200&classes=3&size=32&difficulty=0.2"


class Broken(Task):
    """A task that fails."""

    name = "nmc"
    protocols: ClassVar = {"nmc/cosine": ProtocolSettings(name="nmc/cosine")}
    stochastic = False

    def predict(self, inputs: Inputs, protocol: Any, seed: int) -> Predictions:
        raise ZeroDivisionError("no\nmeans")


def test_one_failing_cell_is_stored_and_does_not_stop_the_others(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = plan.load_task

    def load(name: str) -> Task:
        return Broken() if name == "nmc" else honest(name)

    monkeypatch.setattr(plan, "load_task", load)
    outcome = run(cli, tmp_path, suite="quick")
    assert outcome.code == 1
    assert "ZeroDivisionError: no means" in outcome.err
    assert list(tmp_path.glob("results/*/knn/*.json"))
    table = cli("table", tmp_path, "--format", "csv").out
    assert ",failed," in table
    monkeypatch.undo()
    left = run(cli, tmp_path, suite="quick")
    assert left.code == 1 and "--overwrite failed" in left.err
    mended = run(cli, tmp_path, "--overwrite", "failed", suite="quick")
    assert mended.code == 0 and "1 cells made" in mended.err


def command(out: Path) -> tuple[str | Path, ...]:
    return ("run", *MODEL, "--suite", "quick", "--data", MANY, "--out", out, "--batch-size", "16")


def wait_for(pattern: str, folder: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern}"
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_in_the_middle_and_run_again_it_ends_with_the_same_numbers(cli: CommandLine, tmp_path: Path) -> None:
    process = cli.start(*command(tmp_path / "out"))
    wait_for("features/*/gap/00000.json", cli.cache)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list((tmp_path / "out").glob("results/*/*/*.json"))
    again = cli(*command(tmp_path / "out"))
    assert again.code == 0, again.err
    assert "2,700 images encoded" not in again.err  # the chunk that was finished is kept
    whole = cli(*command(tmp_path / "whole"), "--cache", tmp_path / "other")
    assert whole.code == 0 and "2,700 images encoded" in whole.err
    assert figures(tmp_path / "out") == figures(tmp_path / "whole")


@pytest.mark.slow
def test_an_interrupt_leaves_one_line_and_a_store_that_goes_on(cli: CommandLine, tmp_path: Path) -> None:
    process = cli.start(*command(tmp_path / "out"))
    wait_for("features/*/manifest.json", cli.cache)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1].startswith("transferbench: interrupted")
    assert "Traceback" not in err
    assert cli(*command(tmp_path / "out")).code == 0


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(cli: CommandLine, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"
    process = cli.start(*command(tmp_path / "out"), wrapper=limit)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.strip().splitlines()[-1].startswith("transferbench: the system refused")
    assert "Traceback" not in err
    assert not list((tmp_path / "out").glob("results/*/*/*.json"))
    assert cli(*command(tmp_path / "out")).code == 0
    assert cli("verify", tmp_path / "out").code == 0


@pytest.mark.slow
def test_two_runs_on_one_folder_make_each_cell_once(cli: CommandLine, tmp_path: Path) -> None:
    arguments = ("run", *MODEL, "--task", "knn", "nmc", "fewshot", "--data", SCENES, "--out", tmp_path / "out")
    processes = [cli.start(*arguments) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    lines = [line for log in (tmp_path / "out").glob("runs/*.jsonl") for line in log.read_text().splitlines()]
    assert sum('"event": "cell"' in line for line in lines) == 3
    assert cli("verify", tmp_path / "out").code == 0


def test_an_output_folder_that_cannot_be_written_is_one_line(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    outcome = run(cli, tmp_path / "out", suite="quick")
    assert outcome.code in {1, 2}
    assert "Traceback" not in outcome.err and "transferbench:" in outcome.err.splitlines()[-1]
