"""A table that is too wide is several tables; no heading and no figure is ever broken."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from leaderboard.blocks import Blocks

NAMES = [Text("short"), Text("a model of a long name\nand what its card says of it")]
COLUMNS = [(Text(f"data{k}\ntask\ntop1@5way-1shot"), [Text(f"{k}1.0 ±0.5 ★"), Text(f"{k}2.0 ±0.5")]) for k in range(9)]


def printed(width: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(Blocks("model", NAMES, COLUMNS))
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 400])
def test_every_figure_is_whole_at_every_width(width: int) -> None:
    text = printed(width)
    for k in range(9):
        assert f"data{k}" in text and f"{k}1.0 ±0.5 ★" in text and f"{k}2.0 ±0.5" in text
    assert text.count("top1@5way-1shot") == 9
    assert max(len(line) for line in text.splitlines()) <= width


def test_one_table_where_it_fits_and_the_names_in_each_where_it_does_not() -> None:
    assert printed(400).count("short") == 1
    narrow = printed(80)
    assert narrow.count("short") == narrow.count("model ") - narrow.count("a model ") > 1
