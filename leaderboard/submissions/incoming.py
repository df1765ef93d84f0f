"""Reading a result and its predictions out of a folder that somebody else made."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.errors import ResultError
from benchmark.results.schema import Result
from benchmark.results.store import read_predictions, read_result

MAX_RESULT_BYTES = 16 << 20
MAX_PREDICTIONS_BYTES = 2 << 30  # as stored, and again before compression
MAX_ROWS = 20_000_000  # ImageNet's 50,000 images under 400 settings and draws
MAX_COLUMNS = 64
_TODO = "ask who sent it for the folder as `run` wrote it"


def read_incoming(root: Path, path: Path) -> tuple[Result, pa.Table | None]:
    """The result of a file and, where it is done, its predictions, which hash to what the result says.

    Raises:
        ResultError: not a regular file inside the folder, too large, not a result, or predictions of which the same
            can be said.
    """
    _check_file(root, path, MAX_RESULT_BYTES)
    result = read_result(path)
    if result.status == "failed" or result.predictions is None:
        return result, None
    predictions = root / result.predictions
    _check_file(root, predictions, MAX_PREDICTIONS_BYTES)
    _check_size(predictions)
    return result, read_predictions(root, result)


def _check_file(root: Path, path: Path, limit: int) -> None:
    try:
        inside = path.resolve().is_relative_to(root.resolve())
        regular = inside and path.is_file()
        size = path.stat().st_size if regular else 0
    except (OSError, ValueError) as error:  # a name that the system does not take
        raise ResultError("a file of the folder", f"{str(path)!r}: {error}", _TODO) from error
    if not inside:
        raise ResultError("files inside the folder", f"{path}, which leads out of it", _TODO)
    if not regular:
        raise ResultError("a regular file", f"{path} (missing, or something else)", _TODO)
    if size > limit:
        raise ResultError(f"at most {limit >> 20} MB", f"{path} of {size >> 20} MB", _TODO)


def _check_size(path: Path) -> None:
    """What the footer says of a Parquet file, before anything is unpacked."""
    try:
        facts = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise ResultError("readable predictions", f"{path}: {error}", _TODO) from error
    whole = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
    if facts.num_rows > MAX_ROWS or facts.num_columns > MAX_COLUMNS or whole > MAX_PREDICTIONS_BYTES:
        found = f"{path}: {facts.num_rows:,} rows, {facts.num_columns} columns, {whole >> 20} MB unpacked"
        limits = f"at most {MAX_ROWS:,} rows, {MAX_COLUMNS} columns, {MAX_PREDICTIONS_BYTES >> 20} MB"
        raise ResultError(limits, found, _TODO)
