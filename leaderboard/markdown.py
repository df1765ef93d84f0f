"""Markdown that shows what it is given: names and messages in it are text, never markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    for mark in ("\\", "|", "`", "*", "_", "["):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(html.escape(text, quote=False).split())


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """The lines of a table; `right` are the positions of columns of figures."""
    figures = set(right)
    rule = ("---:" if place in figures else "---" for place in range(len(header)))
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(rule) + " |"]
    return lines + ["| " + " | ".join(plain(cell) for cell in row) + " |" for row in rows]
