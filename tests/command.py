"""Calling the command line: in this process for speed, in one of its own where it is to be killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import run_bench

ROOT = Path(run_bench.__file__).parent


@dataclass(frozen=True)
class Outcome:
    """What a call gave."""

    code: int
    out: str
    err: str


def words(text: str) -> str:
    """Text out of the cells of a table, in one line."""
    return " ".join(re.sub("[│┃]", " ", text).split())


@dataclass
class CommandLine:
    """The command line with a cache of its own."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    cache: Path

    def __call__(self, *arguments: str | Path) -> Outcome:
        """Calls `run_bench.py` in this process."""
        self.monkeypatch.setenv("TRANSFERBENCH_CACHE", str(self.cache))
        self.monkeypatch.setenv("COLUMNS", "200")
        self.monkeypatch.setattr(sys, "argv", ["run_bench.py", *map(str, arguments)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            run_bench.main()
        captured = self.capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    def start(self, *arguments: str | Path, wrapper: str = "") -> subprocess.Popen[str]:
        """Starts `run_bench.py` in a process of its own; `wrapper` is Python code that runs before it."""
        # a shell that puts jobs into the background has them ignore interrupts; a person's terminal does not
        interrupts = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"{interrupts}\n{wrapper}\nimport run_bench; run_bench.main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "TRANSFERBENCH_CACHE": str(self.cache), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
