"""What `list` shows: tasks, suites, protocols, layouts, sources, models."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from benchmark.backbones.sources import SPEC_KINDS
from benchmark.checkpoints.layouts import known
from benchmark.data.source import list_sources
from benchmark.runner.registry import load_task, task_names
from benchmark.suites.suite import load_suite, shipped_suites


def render(what: str) -> RenderableType:
    """The list as a table. `what` is one of the six kinds."""
    heads, rows = {
        "tasks": _tasks,
        "suites": _suites,
        "protocols": _protocols,
        "layouts": _layouts,
        "sources": _sources,
        "models": _models,
    }[what]()
    table = Table(*heads)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


Listing = tuple[tuple[str, ...], Iterable[tuple[str, ...]]]


def _tasks() -> Listing:
    tasks = [load_task(name) for name in task_names()]
    return ("task", "version", "headline", "needs", "what"), [
        (task.name, str(task.version), task.headline, ", ".join(task.needs), task.summary) for task in tasks
    ]


def _suites() -> Listing:
    suites = [load_suite(name) for name in sorted(shipped_suites())]
    return ("suite", "version", "tasks", "datasets", "what"), [
        (
            suite.name,
            str(suite.version),
            ", ".join(dict.fromkeys(entry.task for entry in suite.tasks)),
            ", ".join(suite.datasets),
            suite.summary,
        )
        for suite in suites
    ]


def _protocols() -> Listing:
    rows = []
    for name in task_names():
        for place, protocol in enumerate(load_task(name).protocols.values()):
            marks = ", ".join(mark for mark, on in (("default", place == 0), ("paper", protocol.paper)) if on)
            rows.append((name, protocol.name, str(protocol.version), marks, protocol.summary))
    return ("task", "protocol", "version", "", "what"), rows


def _layouts() -> Listing:
    return ("layout", "what"), [(name, layout.summary) for name, layout in known().items()]


def _sources() -> Listing:
    rows = []
    for source in list_sources():
        options = ", ".join(f"{key}={default}" if default else key for key, default in source.options.items())
        rows.append((source.usage, source.missing or source.summary, options))
    return ("source", "what", "options"), rows


def _models() -> Listing:
    return ("SPEC", "what"), SPEC_KINDS
