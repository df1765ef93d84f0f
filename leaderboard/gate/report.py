"""The gate's findings: for the terminal, a pull request (Markdown), CI (JUnit XML) and programs (JSON)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.errors import RequestError
from benchmark.files import write_bytes
from leaderboard.gate.compare import Check, failures
from leaderboard.gate.verdict import CellVerdict
from leaderboard.markdown import table as plain_table

_COLUMNS = ("cell", "metric", "baseline", "candidate", "difference", "95% interval", "p (Holm)", "n", "verdict")
_STYLES = {"fail": "bold red", "warn": "yellow", "pass": "green"}
_MARKS = {"fail": "✗", "warn": "!", "pass": "✓"}


def write_report(found: Check, path: Path) -> None:
    """Writes `.md`, `.xml` (JUnit) or `.json`, by the name.

    Raises:
        RequestError: another ending.
    """
    kinds = {".md": markdown, ".xml": junit, ".json": as_json}
    if path.suffix not in kinds:
        raise RequestError("a report called *.md, *.xml (JUnit) or *.json", path.name, "choose one of these endings")
    write_bytes(path, kinds[path.suffix](found).encode())


def render(found: Check) -> RenderableType:
    """The findings for a terminal."""
    table = Table(title=f"{found.candidate} against {found.baseline}", title_justify="left", box=SIMPLE_HEAD)
    for name in _COLUMNS:
        words = name in ("cell", "metric", "verdict")
        table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for cell in found.cells:
        verdict = Text(f"{_MARKS[cell.outcome]} {_words(cell)}", style=_STYLES[cell.outcome])
        table.add_row(*(Text(part) for part in _row(cell)), verdict)
    return Group(table, Text(summary(found), style="bold"))


def summary(found: Check) -> str:
    """One line."""
    counts = Counter(cell.verdict for cell in found.cells)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    result = "FAILED" if found.exit_code else "passed"
    return f"{result}: {told} (margin {found.policy.margin:g}, alpha {found.policy.alpha:g} over all cells)"


def markdown(found: Check) -> str:
    """A comment for a pull request."""
    rows = [[*_row(cell), f"{_MARKS[cell.outcome]} {_words(cell)}"] for cell in found.cells]
    lines = [
        f"### Transfer check: {summary(found)}", "", f"candidate `{found.candidate}`, baseline `{found.baseline}`", "",
        *plain_table(_COLUMNS, rows, right=range(2, 8)), "",
        "Differences are paired, sample by sample, unless a note says otherwise; p-values: exact McNemar for "
        "accuracies, else bootstrap.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def junit(found: Check) -> str:
    """A test suite with a case per cell, as CI systems read it."""
    suite = ElementTree.Element(
        "testsuite",
        name=f"transfer check {found.candidate} against {found.baseline}",
        tests=str(len(found.cells)),
        failures=str(len(failures(found.cells))),
    )
    for cell in found.cells:
        case = ElementTree.SubElement(suite, "testcase", classname=cell.task, name=f"{cell.cell}/{cell.metric}")
        text = " ".join(part for part in (*_row(cell)[2:], _words(cell)) if part)
        if cell.outcome == "fail":
            ElementTree.SubElement(case, "failure", message=_words(cell)).text = text
        elif cell.outcome == "warn":
            ElementTree.SubElement(case, "system-out").text = f"warning: {text}"
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_json(found: Check) -> str:
    """Everything, for programs."""
    cells = [{**asdict(cell), "outcome": cell.outcome} for cell in found.cells]
    whole = {
        "baseline": found.baseline, "candidate": found.candidate, "exit_code": found.exit_code,
        "policy": found.policy.model_dump(mode="json"), "cells": cells,
    }  # fmt: skip
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _row(cell: CellVerdict) -> list[str]:
    difference = cell.difference
    return [
        cell.cell,
        cell.metric + ("" if cell.higher_is_better else " ↓"),
        "" if cell.baseline is None else f"{cell.baseline:.2f}",
        "" if cell.candidate is None else f"{cell.candidate:.2f}",
        "" if difference is None else f"{difference.delta:+.2f}",
        "" if difference is None else f"[{difference.ci_low:+.2f}, {difference.ci_high:+.2f}]",
        "" if cell.p_adjusted is None else f"{cell.p_adjusted:.2g}",
        "" if difference is None else f"{difference.n}",
    ]


def _words(cell: CellVerdict) -> str:
    more = f" (about {cell.needed:,} samples would settle it)" if cell.needed else ""
    return f"{cell.verdict}{more}" + (f": {cell.note}" if cell.note else "")
