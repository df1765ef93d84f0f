"""What became of submissions: for the terminal, a pull request (Markdown) and programs (JSON)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.errors import RequestError
from benchmark.files import write_bytes
from leaderboard import markdown
from leaderboard.submissions.merge import Merge, Outcome

_COLUMNS = ("what became of it", "cell", "file", "why")
_STYLES = {"refused": "bold red", "kept": "yellow", "replaced": "yellow"}


def render(found: Merge) -> RenderableType:
    """Refusals and whatever else needs a word, then the counts."""
    listed = [outcome for outcome in found.outcomes if outcome.reason]
    if not listed:
        return Text(summary(found), style="bold")
    table = Table(box=SIMPLE_HEAD)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold", no_wrap=name == _COLUMNS[0])
    for outcome in listed:
        status, *rest = _row(outcome)
        table.add_row(Text(status, style=_STYLES.get(status, "")), *map(Text, rest))
    return Group(table, Text(summary(found), style="bold"))


def summary(found: Merge) -> str:
    """One line."""
    counts = Counter(outcome.status for outcome in found.outcomes)
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return f"{found.board}: {told}" + (" (dry run: nothing was written)" if found.dry_run else "")


def check_name(path: Path) -> None:
    """Whether a report can be called that, before anything is merged.

    Raises:
        RequestError: neither `.md` nor `.json`.
    """
    if path.suffix not in (".md", ".json"):
        raise RequestError("a report called *.md or *.json", path.name, "choose one of these endings")


def write_report(found: Merge, path: Path) -> None:
    """Writes `.md` or `.json`, by the name.

    Raises:
        RequestError: another ending.
    """
    check_name(path)
    text = as_markdown(found) if path.suffix == ".md" else as_json(found)
    write_bytes(path, text.encode())


def as_markdown(found: Merge) -> str:
    """A comment for a pull request: every file that was sent."""
    ordered = sorted(found.outcomes, key=lambda outcome: outcome.status != "refused")
    rows = [_row(outcome) for outcome in ordered]
    return "\n".join([f"### {markdown.plain(summary(found))}", "", *markdown.table(_COLUMNS, rows), ""])


def as_json(found: Merge) -> str:
    """Everything, for programs."""
    whole = {
        "board": found.board, "dry_run": found.dry_run, "exit_code": found.exit_code,
        "results": [asdict(outcome) for outcome in found.outcomes],
    }  # fmt: skip
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    return outcome.status, outcome.cell, outcome.path, outcome.reason
