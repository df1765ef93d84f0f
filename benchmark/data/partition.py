"""Splits where the data brings none: a seeded part of it becomes the reported split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from benchmark.data.dataset import ImageReader
from benchmark.errors import DataError


@dataclass(frozen=True)
class Rows:
    """Some of the images of another reader.

    Attributes:
        reader: all of them.
        rows: (N,) int64 which, in order.
    """

    reader: ImageReader
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Image.Image:
        """Image `index` of the part."""
        return self.reader.read(int(self.rows[index]))


def held_out(ids: pa.Array, targets: NDArray[np.generic], fraction: float, seed: int, source: str) -> NDArray[np.bool_]:
    """(N,) whether a sample belongs to the held-out part.

    A sample's place in the draw depends on the seed and its id alone: not on the order of files, the platform or a
    library's version. Single-label data is drawn class by class, `round(fraction * count)` of each and at least one.

    Args:
        ids: (N,) strings.
        targets: (N,) class indices, or (N, C) indicators (drawn as a whole).
        fraction: between 0 and 1.
        seed: another seed, another draw.
        source: for messages.

    Raises:
        DataError: a class with a single image cannot be on both sides.
    """
    tickets = [hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest() for key in ids.to_pylist()]
    ticket = np.frombuffer(b"".join(tickets), ">u8").astype(np.uint64)
    strata = np.zeros(len(ids), np.int64) if targets.ndim == 2 else targets.astype(np.int64)
    order = np.lexsort((ticket, strata))
    starts = np.searchsorted(strata[order], np.arange(strata.max(initial=0) + 2))
    out = np.zeros(len(ids), bool)
    for start, end in pairwise(starts):
        count = end - start
        if count == 1:
            found = f"one only, {ids[int(order[start])].as_py()!r}, in {source!r}"
            raise DataError("two images or more of each class to split", found, "add images or name a test split")
        if count:
            out[order[start : start + min(max(round(fraction * count), 1), count - 1)]] = True
    return out
