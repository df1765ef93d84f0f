"""What a log says of the time left is about the stage that runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmark.runner import reporter
from benchmark.runner.reporter import Reporter


def test_each_stage_of_a_cell_has_a_rate_and_a_time_left_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(reporter.time, "monotonic", lambda: clock[0])
    text = io.StringIO()
    with Reporter(Console(file=text, width=200)).bar("cell") as update:
        for step in range(1, 401):  # 0.5 steps a second
            clock[0] += 2
            update(step, 400, "steps")
        for image in range(1, 101):  # 4 a second
            clock[0] += 0.25 if image > 1 else 60
            update(image, 100, "reported images")
        for image in range(1, 101):  # the same number again
            clock[0] += 1
            update(image, 100, "masks")
    lines = text.getvalue().splitlines()
    assert "cell steps: 15/400, 0.5 steps/s, 12 min 50 s left" in lines
    assert all(" 0.5 steps/s" in line for line in lines if " steps: " in line)
    assert all(" 4.0 steps/s" in line for line in lines if "reported images" in line)
    assert all(" 1.0 steps/s" in line for line in lines if "masks" in line)
    assert sum("masks" in line for line in lines) >= 3
