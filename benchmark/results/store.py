"""The store on disk: one JSON per cell, its predictions beside it, both written atomically.

    DIR/results/<model>/<task>/<dataset>--<protocol>--s<seed>.json
    DIR/predictions/<model>/<task>/<dataset>--<protocol>--s<seed>.parquet
    DIR/runs/<run id>.jsonl

A file exists whole or not at all: it is written under a temporary name in the same folder, fsynced and renamed.
Predictions go first, so a result never names predictions that are not there. Those of a cell that is made again stand
beside the old ones (`...~<digits>.parquet`) until the result names them: a kill in between leaves the old cell whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import ValidationError
from pydantic_core import from_json

from benchmark.errors import ResultError
from benchmark.files import write_atomically, write_bytes
from benchmark.results.migrations import migrated
from benchmark.results.schema import Result

_LARGE = 4 << 20  # bytes
_SAFE = re.compile(r"[^A-Za-z0-9._+=,@-]")


def safe_name(text: str) -> str:
    """A file name for any text: harmless characters kept, the rest replaced, a digest added when something was lost."""
    plain = _SAFE.sub("-", text).lstrip(".")
    if plain == text and plain and len(plain) <= 120:
        return plain
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{plain[:110] or 'x'}~{digest}"


@dataclass(frozen=True, order=True)
class CellKey:
    """What makes a cell: its place in the store."""

    model: str
    task: str
    dataset: str
    protocol: str
    seed: int

    @property
    def stem(self) -> str:
        """Relative path without a suffix."""
        protocol = safe_name(self.protocol.replace("/", "-", 1))  # family/variant
        leaf = f"{safe_name(self.dataset)}--{protocol}--s{self.seed}"
        return f"{safe_name(self.model)}/{safe_name(self.task)}/{leaf}"

    def __str__(self) -> str:
        return f"{self.model} · {self.task} · {self.dataset} · {self.protocol} · seed {self.seed}"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class ResultStore:
    """Results and predictions under one output folder. Nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def result_path(self, key: CellKey) -> Path:
        """Where the cell's result is or will be."""
        return self.root / "results" / f"{key.stem}.json"

    def predictions_path(self, key: CellKey) -> Path:
        """Where the cell's predictions are or will be."""
        return self.root / "predictions" / f"{key.stem}.parquet"

    def read(self, key: CellKey) -> Result | None:
        """The stored result, or None.

        Raises:
            ResultError: the file is there and is not a result.
        """
        path = self.result_path(key)
        return read_result(path) if path.exists() else None

    def write_predictions(self, key: CellKey, table: pa.Table) -> tuple[str, str]:
        """Stores the predictions; returns their path relative to the folder and their SHA-256.

        Predictions that are there already, which a stored result may name, stay until `write`.
        """
        path = self.predictions_path(key)
        if path.exists():
            path = path.with_name(f"{path.stem}~{secrets.token_hex(4)}.parquet")
        write_atomically(path, lambda stream: pq.write_table(table, stream, compression="zstd"))
        return path.relative_to(self.root).as_posix(), sha256(path)

    def write(self, key: CellKey, result: Result) -> Path:
        """Stores the result; the cell is finished the moment this returns. Predictions that it replaced go."""
        path = self.result_path(key)
        text = json.dumps(result.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
        write_bytes(path, (text + "\n").encode())
        predictions = self.predictions_path(key)
        for older in (predictions, *predictions.parent.glob(f"{predictions.stem}~*.parquet")):
            if older.relative_to(self.root).as_posix() != result.predictions:
                older.unlink(missing_ok=True)
        return path

    @contextlib.contextmanager
    def claim(self, key: CellKey) -> Iterator[bool]:
        """Holds the cell for this process; yields False when another living run holds it.

        The lock belongs to the open file, so a killed run releases it by dying.
        """
        path = (
            self.root
            / "results"
            / ".locks"
            / (hashlib.blake2b(key.stem.encode(), digest_size=12).hexdigest() + ".lock")
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def results(self) -> Iterator[tuple[Path, Result]]:
        """Every stored result with its path, in a stable order.

        Raises:
            ResultError: a file is not a result.
        """
        folder = self.root / "results"
        for path in sorted(folder.glob("*/*/*.json")):
            yield path, read_result(path)


def read_result(path: Path) -> Result:
    """A result from its file.

    Raises:
        ResultError: not JSON, or not a result of a schema that this version reads.
    """
    todo = "delete the file to have the cell made again, or use the version that wrote it"
    try:
        document = from_json(path.read_bytes(), allow_inf_nan=False)
    except ValueError as error:
        raise ResultError("a result in UTF-8 JSON without NaN", f"{path}: {error}", todo) from error
    try:
        return Result.model_validate(migrated(document, str(path)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ResultError("a stored result", f"{path}: {where}: {first['msg']}", todo) from error


def open_store(root: Path) -> ResultStore:
    """The store of an output folder that exists and has results.

    Raises:
        ResultError: no such folder, or no results in it.
    """
    if not root.is_dir():
        raise ResultError("a folder of results", f"{root} (no such folder)", "name the --out folder of a run")
    if not any((root / "results").glob("*/*/*.json")):
        raise ResultError("a folder of results", f"{root} without results/*/*/*.json", "name the --out folder of a run")
    return ResultStore(root)


def read_predictions(root: Path, result: Result) -> pa.Table:
    """The predictions of a done result, the very ones that were stored.

    Raises:
        ResultError: missing, unreadable, or changed since they were stored.
    """
    if result.predictions is None:
        raise ResultError("predictions", f"none stored for {result.task} on {result.data.name}", "run the cell again")
    path = (root / result.predictions).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ResultError("predictions inside the output folder", str(result.predictions), "do not trust this result")
    todo = "run the cell again with --overwrite always"
    try:
        digest = sha256(path)
        if digest != result.predictions_sha256:
            found = f"{path}: the predictions were changed: SHA-256 {digest[:12]}"
            raise ResultError(f"predictions of SHA-256 {str(result.predictions_sha256)[:12]}", found, todo)
        with pq.ParquetFile(path) as file:  # a pool of threads costs more than a small file
            return file.read(use_threads=path.stat().st_size > _LARGE)
    except (OSError, pa.ArrowException) as error:
        raise ResultError("readable predictions", f"{path}: {error}", todo) from error
