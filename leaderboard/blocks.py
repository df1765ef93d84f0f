"""A table that is wider than the terminal, as several tables one below the other that share their first column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_FRAME = 2  # what a table has left and right of its columns
_GAP = 3  # between two columns, padding included
_NAMES = 24  # what the first column keeps at least, if its text is as long


@dataclass(frozen=True)
class Blocks:
    """Rows of names and figures.

    Attributes:
        title: of the names.
        names: one per row; may have several lines.
        columns: a heading and a cell per row each; neither is ever broken.
    """

    title: str
    names: Sequence[Text]
    columns: Sequence[tuple[Text, Sequence[Text]]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As few tables as the width allows, in the order of the columns."""
        longest = max([_width(name) for name in self.names] + [len(self.title)])
        room = options.max_width - _FRAME - min(longest, _NAMES) - _GAP
        blocks: list[list[tuple[Text, Sequence[Text]]]] = [[]]
        left = room
        for heading, cells in self.columns:
            need = max(_width(text) for text in (heading, *cells)) + _GAP
            if need > left and blocks[-1]:
                blocks.append([])
                left = room
            blocks[-1].append((heading, cells))
            left -= need
        for block in blocks:
            table = Table(box=SIMPLE_HEAD)
            table.add_column(self.title, overflow="fold", min_width=min(longest, _NAMES))
            for heading, _ in block:
                table.add_column(heading, justify="right", no_wrap=True)
            for row, name in enumerate(self.names):
                table.add_row(name, *(cells[row] for _, cells in block))
            yield table


def _width(text: Text) -> int:
    return max((line.cell_len for line in text.split("\n")), default=0)
