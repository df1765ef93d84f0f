"""Fingerprints of data: cheap, stable between machines, and sensitive to a changed, missing or added file.

Two digests of the same files. The *fingerprint* looks at names, labels, sizes and sampled contents: it is equal
wherever the same data is. The *state* looks at names, labels, sizes and times of every file and reads none: it
changes whenever a file is touched, even when its size and modification time are put back (the time of the last status
change stays).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.errors import DataError

PIECE = 16 * 1024  # bytes read at each sampled place of a file
SAMPLED_FILES = 2000  # all files are sampled up to this many, this many beyond it


def combine(parts: Iterable[str]) -> str:
    """Hex digest of a sequence of strings (lengths are hashed too, so that boundaries count)."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


@dataclass(frozen=True)
class Stamps:
    """What the file system says of N files: (N,) int64 sizes in bytes, modification and status-change times in ns."""

    sizes: NDArray[np.int64]
    modified: NDArray[np.int64]
    changed: NDArray[np.int64]

    @staticmethod
    def of(paths: Sequence[str | Path]) -> Stamps:
        """Asks the file system about each path."""
        stats = [Path(path).stat() for path in paths]
        return Stamps.of_rows(np.array([(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats], np.int64))

    @staticmethod
    def of_rows(rows: NDArray[np.int64]) -> Stamps:
        """From (N, 3) answers already had: size, modification and status-change time."""
        table = rows.reshape(-1, 3)
        return Stamps(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())

    def take(self, rows: NDArray[np.int64]) -> Stamps:
        """The stamps of some of the files."""
        return Stamps(self.sizes[rows], self.modified[rows], self.changed[rows])


def of_array(values: NDArray[np.generic]) -> str:
    """Hex digest of an array's type, shape and (little-endian) values."""
    plain = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    digest = hashlib.blake2b(f"{plain.dtype.str}{plain.shape}".encode(), digest_size=16)
    digest.update(plain.tobytes())
    return digest.hexdigest()


def of_strings(values: pa.Array) -> str:
    """Hex digest of an array of strings without nulls, the same for every Arrow representation of it."""
    lengths = pc.binary_length(values).to_numpy(zero_copy_only=False).astype("<i8")
    digest = hashlib.blake2b(lengths.tobytes(), digest_size=16)
    for start in range(0, len(values), 65536):
        digest.update("".join(values.slice(start, 65536).to_pylist()).encode())
    return digest.hexdigest()


def of_labels(ids: pa.Array, targets: NDArray[np.generic]) -> str:
    """Hex digest of which sample has which target, whatever their order."""
    order = pc.sort_indices(ids)
    return combine([of_strings(ids.take(order)), of_array(targets[order.to_numpy()])])


def of_content(path: str | Path, pieces: int = 2) -> str:
    """Hex digest of `pieces` (at least 2) evenly spaced pieces of a file: its head, its tail and what is between.

    Raises:
        DataError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(size.to_bytes(8, "little"))
            if size <= pieces * PIECE:
                file.seek(0)
                digest.update(file.read())
            else:
                for k in range(pieces):
                    file.seek((size - PIECE) * k // (pieces - 1))
                    digest.update(file.read(PIECE))
    except OSError as error:
        raise DataError("a readable file", f"{path}: {error.strerror}", "restore it or check its permissions") from None
    return digest.hexdigest()


def of_files(root: str | Path, names: pa.Array, stamps: Stamps, pieces: int = 2) -> tuple[str, str]:
    """Fingerprint and state of files, whatever their order.

    Args:
        root: the folder that the names are relative to; not part of either digest.
        names: (N,) paths below it.
        stamps: what the file system says of them.
        pieces: places sampled per file (more for archives, which change in their midst).
    """
    order = pc.sort_indices(names)
    names, stamps = names.take(order), stamps.take(order.to_numpy().astype(np.int64))
    sampled = sorted({k * len(names) // SAMPLED_FILES for k in range(SAMPLED_FILES)}) if len(names) else []
    contents = [of_content(f"{root}/{names[row].as_py()}", pieces) for row in sampled]
    what = [of_strings(names), of_array(stamps.sizes)]
    return combine([*what, *contents]), combine([*what, of_array(stamps.modified), of_array(stamps.changed)])
