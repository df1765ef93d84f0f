"""Folders of results into a board: each is read, judged, and stored or refused with a reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
from filelock import FileLock, Timeout

from benchmark.errors import RequestError, ResultError, nearest
from benchmark.metrics.columns import facts_of
from benchmark.results.schema import Result
from benchmark.results.store import CellKey, ResultStore, open_store, read_predictions, safe_name
from leaderboard.submissions.board import Board
from leaderboard.submissions.incoming import read_incoming
from leaderboard.submissions.rules import check_alone, finished_at

Status = Literal["merged", "replaced", "already there", "kept", "refused"]
Replace = Literal["never", "newer"]


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        path: the result that was sent.
        cell: which cell it is, or `?` where that could not be read.
        status: `merged`; `replaced` (another result of the cell gave way); `already there` (with the same
            predictions); `kept` (the board's is at least as new); `refused`.
        reason: why, where it was not simply merged.
    """

    path: str
    cell: str
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Merge:
    """What became of all of them.

    Attributes:
        board: the folder.
        outcomes: in the order of the folders, and of the files within each.
        dry_run: whether nothing was written.
    """

    board: str
    outcomes: tuple[Outcome, ...]
    dry_run: bool

    @property
    def exit_code(self) -> int:
        """1 where something was refused, else 0."""
        return 1 if any(outcome.status == "refused" for outcome in self.outcomes) else 0


def merge(
    folders: Sequence[Path],
    into: Path,
    *,
    replace: Replace = "never",
    rename: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> Merge:
    """Merges output folders of `run` into another one, which `table`, `verify` and `check` read like any.

    A cell that the board has already is decided by one rule: equal predictions leave the board's result; others are
    refused, or, with `newer`, the one that finished later stays. Predictions are stored before their result, so a kill
    at any instant leaves a valid board, and the same call goes on from there.

    Args:
        folders: what was sent.
        into: the board; it is made where it is not there.
        replace: what happens to a cell that the board has with other predictions.
        rename: names of models in `folders` -> names on the board.
        dry_run: judge, and write nothing.

    Raises:
        RequestError: no folder, one without results, a board among the folders, a name to change that nobody has, or
            another merge into the same board is at work.
    """
    if not folders:
        raise RequestError("at least one folder of results", "none", "for example: merge sent/ours --into board")
    sent = [(folder, path) for folder in folders for path in _results_of(folder, into)]
    names = {path.parent.parent.name for _, path in sent}
    for old in rename or {}:
        if safe_name(old) not in names:
            raise RequestError("--rename of a model that was sent", repr(old), nearest(old, names))
    with contextlib.nullcontext() if dry_run else _alone(into):
        board = Board(into)
        outcomes = tuple(_one(board, folder, path, replace, rename or {}, dry_run) for folder, path in sent)
    return Merge(_shown(str(into)), outcomes, dry_run)


def _results_of(folder: Path, into: Path) -> list[Path]:
    if folder.resolve() == into.resolve():
        raise RequestError("folders other than the board", str(folder), "name what is to be merged into it")
    return sorted((open_store(folder).root / "results").glob("*/*/*.json"))


def _one(board: Board, folder: Path, path: Path, replace: Replace, rename: Mapping[str, str], dry_run: bool) -> Outcome:
    cell = "?"
    try:
        result, table = read_incoming(folder, path)
        name = rename.get(result.model.name, result.model.name)
        result = result.model_copy(update={"model": result.model.model_copy(update={"name": name})})
        key = CellKey(result.model.name, result.task, result.data.name, result.protocol.name, result.seed)
        cell = _shown(str(key))
        table = _judged(board, result, table)
        if dry_run:
            status, reason = _against_stored(board.store, key, result, table, replace)
        else:
            with board.store.claim(key) as mine:
                if not mine:
                    raise ResultError("a cell that nobody is making", f"a run that holds {key}", "merge again later")
                status, reason = _against_stored(board.store, key, result, table, replace)
                if status in ("merged", "replaced"):
                    result = _store(board.store, key, result, table)
        if status in ("merged", "replaced"):
            board.add(folder if dry_run else board.store.root, result, table)
    except RequestError as error:
        return Outcome(_shown(str(path)), cell, "refused", _shown(str(error)))
    return Outcome(_shown(str(path)), cell, status, reason)


def _judged(board: Board, result: Result, table: pa.Table | None) -> pa.Table:
    """The predictions of a result that breaks no rule.

    Raises:
        RequestError: the first rule that it breaks; whatever else a table made to do harm does to its readers is one.
    """
    try:
        predictions = check_alone(result, table)
        board.check(result, predictions)
    except RequestError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise ResultError("predictions that can be scored", found, "send the folder as `run` wrote it") from error
    return predictions


def _against_stored(
    store: ResultStore, key: CellKey, result: Result, table: pa.Table, replace: Replace
) -> tuple[Status, str]:
    """What the rule for duplicates says.

    Raises:
        ResultError: the board has other predictions, and they are to stay.
    """
    stored = store.read(key)
    if stored is None:
        return "merged", ""
    if stored.status == "failed":
        return "replaced", "the board's cell had failed"
    if stored.predictions_sha256 == result.predictions_sha256 or _same(read_predictions(store.root, stored), table):
        return "already there", ""
    before, now = finished_at(stored), finished_at(result)
    times = f"finished {now.isoformat(timespec='seconds')}, the board's {before.isoformat(timespec='seconds')}"
    if replace == "never":
        todo = "--replace newer takes the later one"
        raise ResultError("a cell that the board lacks, or has with these predictions", f"others; {times}", todo)
    return ("replaced", times) if now > before else ("kept", times)


def _same(left: pa.Table, right: pa.Table) -> bool:
    return facts_of(left) == facts_of(right) and left.equals(right)


def _store(store: ResultStore, key: CellKey, result: Result, table: pa.Table) -> Result:
    path, digest = store.write_predictions(key, table)
    stored = result.model_copy(update={"predictions": path, "predictions_sha256": digest})
    store.write(key, stored)
    return stored


@contextlib.contextmanager
def _alone(into: Path) -> Iterator[None]:
    """One merge into a board at a time; a killed one leaves no lock behind."""
    folder = into / "results" / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "merge.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RequestError("one merge into a board at a time", f"another into {into}", "wait for it") from error
    try:
        yield
    finally:
        lock.release()


def _shown(text: str) -> str:
    """Text that a terminal can be given: what does not print is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def parse_renames(items: Sequence[str]) -> dict[str, str]:
    """`OLD=NEW` items.

    Raises:
        RequestError: not of that form, or a name twice.
    """
    parsed: dict[str, str] = {}
    for item in items:
        old, equals, new = item.partition("=")
        if not (old and equals and new) or old in parsed:
            raise RequestError("--rename OLD=NEW, each name once", repr(item), "for example --rename vit=vit-ours")
        parsed[old] = new
    return parsed
