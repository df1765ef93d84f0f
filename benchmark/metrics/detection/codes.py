"""Masks as COCO's compressed run lengths: text in 6-bit pieces, read for many masks at once.

The format is that of `rleToString` in cocoapi's maskApi.c. Runs of a mask read column by column, zeros first; from the
fourth on, each is stored as its difference to the run two before; numbers are in groups of five bits, lowest first,
with 32 for "more follow" and the sign in the last group's highest bit; 48 is added to make printable characters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pycocotools import mask as coco

from benchmark.metrics import columns

_LONGEST = 7  # groups of five bits that a 32-bit run or difference can take
_BLOCK = 1 << 16  # characters read at once: what is made of them stays in a cache


def encode_masks(masks: NDArray[np.bool_]) -> list[str]:
    """(D, H, W) masks to a code each."""
    return [code["counts"].decode() for code in coco.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))]


def encode_runs(runs: Sequence[NDArray[np.int64]], size: tuple[int, int]) -> list[str]:
    """Masks of (h, w) as uncompressed run lengths (zeros first) to a code each."""
    height, width = size
    objects = [{"counts": counts.tolist(), "size": [height, width]} for counts in runs]
    return [code["counts"].decode() for code in coco.frPyObjects(objects, height, width)] if objects else []


def areas_of(codes: pa.StringArray, pixels: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """(M,) pixels of each mask, codes checked on the way: what they say goes to C code that trusts its input.

    Args:
        codes: (M,) strings.
        pixels: (M,) height times width of the image of each.
        name: the column, for messages.

    Raises:
        ResultError: a code that is none, or whose runs do not add up to its image.
    """
    areas = np.zeros(len(codes), np.int64)
    if not len(codes):
        return areas
    _, offsets, text = codes.buffers()
    starts = np.frombuffer(offsets, np.int32)[codes.offset : codes.offset + len(codes) + 1].astype(np.int64)
    if (np.diff(starts) == 0).any():
        raise columns.malformed(f"a code for every mask in {name!r}", "an empty one")
    begin = 0
    while begin < len(codes):  # in blocks: what a character takes while it is read is many times the character
        end = max(begin + 1, int(np.searchsorted(starts, starts[begin] + _BLOCK, side="right")) - 1)
        runs, owner, place = _runs(
            np.frombuffer(text, np.uint8)[starts[begin] : starts[end]],
            starts[begin + 1 : end + 1] - starts[begin],
            name,
        )
        totals = np.bincount(owner, runs, end - begin).astype(np.int64)
        wrong = np.flatnonzero(totals != pixels[begin:end])
        if len(wrong):
            raise columns.malformed(f"runs of {pixels[begin + wrong[0]]} pixels in {name!r}", f"{totals[wrong[0]]}")
        areas[begin:end] = np.bincount(owner, runs * (place % 2), end - begin)
        begin = end
    return areas


def _runs(
    code: NDArray[np.uint8], ends: NDArray[np.int64], name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(R,) the runs of the masks whose codes end at `ends`, the mask of each, and its place within the mask."""
    text = code.astype(np.int64) - 48
    if ((text < 0) | (text > 63)).any() or (text[ends - 1] & 32).any():
        raise columns.malformed(f"COCO's compressed run lengths in {name!r}", "other characters, or a code cut short")
    last = np.flatnonzero((text & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    groups = last - first + 1
    if (groups > _LONGEST).any():
        raise columns.malformed(f"run lengths of 32 bits in {name!r}", "longer ones")
    group = np.arange(len(text)) - np.repeat(first, groups)
    numbers = np.add.reduceat((text & 31) << (5 * group), first)
    numbers -= np.where((text[last] & 16) > 0, np.int64(1) << (5 * groups), 0)
    sizes = np.diff(np.searchsorted(last, ends - 1), prepend=-1)  # every code ends with a last group
    starts = np.cumsum(sizes) - sizes
    owner = np.repeat(np.arange(len(ends)), sizes)
    place = np.arange(len(owner)) - np.repeat(starts, sizes)
    runs = _summed(numbers, place)
    if (runs < 0).any():
        raise columns.malformed(f"run lengths in {name!r}", f"one of {runs.min()}")
    return runs, owner, place


def _summed(numbers: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Undoes the differences: from a mask's fourth number on, each adds to the run two places before."""
    total = np.empty_like(numbers)
    for parity in (0, 1):
        np.cumsum(numbers[parity::2], out=total[parity::2])
    # Less what the sum held before its chain began, two places before the mask's second or third number.
    begin = np.arange(len(numbers)) - place + np.where(place % 2 == 1, 1, np.minimum(place, 2))
    return total - (total - numbers)[begin]
