"""What a submitted result must be by itself: named in plain text, of a known protocol, and true to its predictions."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pyarrow as pa

from benchmark.errors import ResultError
from benchmark.metrics.columns import facts_of
from benchmark.results.schema import Result
from benchmark.runner.registry import load_protocol, load_task
from leaderboard.verify import problems_of

LONGEST_NAME = 200
SHOWN = 3  # problems of one result that a reason lists


def check_alone(result: Result, table: pa.Table | None) -> pa.Table:
    """Every rule that needs no board; returns the predictions, which a finished cell has.

    Raises:
        RequestError: the first one that is broken.
    """
    _check_names(result)
    if result.status == "failed" or table is None:
        message = result.error.message if result.error else "no predictions"
        raise ResultError("a finished cell", f"one that failed: {message}", "failed cells are not merged; run it again")
    finished_at(result)
    _check_declared(result)
    classes = facts_of(table)["classes"]
    if classes != result.data.classes:
        found = f"{classes} in the predictions"
        raise ResultError(f"{result.data.classes} classes, as the result says", found, "run the cell again")
    problems = problems_of(result, table)
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        found = "; ".join(problems[:SHOWN]) + more
        raise ResultError("figures that the predictions give", found, "send the folder as `run` wrote it")
    return table


def finished_at(result: Result) -> datetime:
    """When the cell was finished.

    Raises:
        ResultError: no time with its zone, or one that is yet to come.
    """
    text = result.provenance.finished
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise ResultError("a time in ISO 8601", f"provenance.finished {text!r}", "run the cell again") from error
    if time.tzinfo is None:
        raise ResultError("a time with its zone", f"provenance.finished {text!r}", "run the cell again")
    if time > datetime.now(timezone.utc) + timedelta(days=1):
        raise ResultError("a time in the past", f"provenance.finished {text!r}", "set the clock and run the cell again")
    return time


def _check_names(result: Result) -> None:
    """Names are text in one line that a terminal and a page can show, and a link leads to the web."""
    names = {
        "model.name": result.model.name,
        "task": result.task,
        "data.name": result.data.name,
        "protocol.name": result.protocol.name,
        "protocol.representation": result.protocol.representation,
        "data.reported_split": result.data.reported_split,
        "model.weights_hash": result.model.weights_hash,
        "data.fingerprint": result.data.fingerprint,
    }
    for field, text in names.items():
        if not text.strip() or not text.isprintable() or len(text) > LONGEST_NAME:
            found = f"{field} {text[:60]!r}"
            raise ResultError(f"1 to {LONGEST_NAME} printable characters", found, "give it another name, or --rename")
    link = result.model.link
    if link is not None and not (link.isprintable() and link.startswith(("https://", "http://"))):
        raise ResultError("a link that starts with https:// or http://", f"model.link {link[:60]!r}", "mend the card")


def _check_declared(result: Result) -> None:
    """Task, protocol and scorer are the installed ones, and the protocol's name says every setting that is not its own.

    Raises:
        RequestError: unknown (the nearest names are listed), another version, or a contradiction.
    """
    try:
        task = load_task(result.task)
    except ImportError as error:
        raise ResultError("a task that can be imported", f"{result.task}: {error}", "mend its package") from error
    base = result.protocol.name.partition("+")[0]
    protocol = load_protocol(task, base, result.protocol.settings)
    pairs = {
        "protocol (by its settings)": (protocol.name, result.protocol.name),
        "protocol version": (protocol.version, result.protocol.version),
        "task version": (task.version, result.task_version),
        "mark for protocols that select on the reported split": (protocol.paper, result.protocol.paper),
        "scorer": (task.scorer_of(protocol, result.data.multilabel), result.scorer.name),
        "headline": (task.headline_of(protocol, result.data.name, result.data.multilabel), result.headline),
    }
    for what, (installed, stated) in pairs.items():
        if installed != stated:
            raise ResultError(f"{what} {installed}", str(stated), "run the cell with the release that keeps the board")
