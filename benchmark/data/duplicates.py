"""Leakage: files of a reported split that lie in train too, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.data.fingerprint import of_content

MAX_FILES = 20_000  # files read at most, so that a million of them cost seconds


def leaked(
    root: str | Path,
    train: pa.Array,
    train_sizes: NDArray[np.int64],
    test: pa.Array,
    test_sizes: NDArray[np.int64],
) -> str | None:
    """A sentence about files that both splits hold, or None.

    Only files of equal size are compared, by their heads and tails; where there are too many of them, evenly spaced
    reported files are looked at.

    Args:
        root: the folder that the names are relative to.
        train: (N,) paths below it.
        train_sizes: (N,) in bytes.
        test: (M,) paths below it.
        test_sizes: (M,) in bytes.
    """
    sizes, counts = np.unique(train_sizes, return_counts=True)
    at = np.minimum(np.searchsorted(sizes, test_sizes), len(sizes) - 1)
    suspects = np.flatnonzero(sizes[at] == test_sizes)
    cost = np.cumsum(counts[at[suspects]] + 1)
    if not len(suspects):
        return None
    looked_at = suspects
    if cost[-1] > MAX_FILES:
        looked_at = suspects[:: int(np.ceil(cost[-1] / MAX_FILES))]
    by_size: dict[int, list[int]] = {}
    for row in np.flatnonzero(np.isin(train_sizes, test_sizes[looked_at])):
        by_size.setdefault(int(train_sizes[row]), []).append(int(row))
    known: dict[int, dict[str, str]] = {}  # size -> content -> train file
    pairs: list[tuple[str, str]] = []
    read = 0
    for row in looked_at:
        size = int(test_sizes[row])
        if size not in known:
            if read > MAX_FILES:
                break
            paths = [train[k].as_py() for k in by_size[size]]
            known[size] = {of_content(f"{root}/{path}"): path for path in paths}
            read += len(paths)
        path = test[int(row)].as_py()
        twin = known[size].get(of_content(f"{root}/{path}"))
        if twin is not None:
            pairs.append((path, twin))
    if not pairs:
        return None
    checked = "" if len(looked_at) == len(suspects) else f" of {len(looked_at)} looked at"
    return f"{len(pairs)} reported images{checked} are in train too, byte for byte: first {pairs[0][0]} = {pairs[0][1]}"
