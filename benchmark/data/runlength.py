"""Binary masks as run lengths: COCO's uncompressed code, a mask read column by column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def run_lengths(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths of the runs of a (H, W) mask in column-major order, zeros first (the first length may be 0)."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [not mask[-1, -1]]]) if mask.size else np.array([False])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], edges])).astype(np.int64)


def from_run_lengths(counts: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The (H, W) mask.

    Raises:
        ValueError: the lengths do not add up to its pixels.
    """
    if counts.sum() != size[0] * size[1] or (counts < 0).any():
        raise ValueError(f"run lengths of {counts.sum()} pixels for a mask of {size[0]} x {size[1]}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")
