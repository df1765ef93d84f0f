"""Reading the table of the detection scorers back, checked, into flat arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.metrics import columns
from benchmark.metrics.detection.codes import areas_of
from benchmark.metrics.detection.table import KINDS

_LARGEST = 65536  # sides below it: a mask's runs then fit 32 bits


@dataclass(frozen=True)
class Boxes:
    """Objects of all images, image by image: G that are annotated, or D that were found.

    Attributes:
        image: (G,) int64 row of the image, ascending.
        label: (G,) int64 class.
        box: (G, 4) float64 x0, y0, x1, y1.
        masks: (G,) strings, or None.
        mask_area: (G,) int64 pixels of the masks; empty without.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    masks: pa.Array | None
    mask_area: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Images:
    """One draw of one variant, read and checked: N images.

    Attributes:
        size: (N, 2) int64 height and width.
        targets: what is annotated.
        crowd, difficult: (G,) bool.
        area: (G,) float64 as annotated.
        found: what was found, best first within each image.
        score: (D,) float32.
        truth: (N,) int64 that stands for all that is annotated in an image but masks (a hash).
        mask_truth: (N,) likewise, masks too.
    """

    size: NDArray[np.int64]
    targets: Boxes
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    area: NDArray[np.float64]
    found: Boxes
    score: NDArray[np.float32]
    truth: NDArray[np.int64]
    mask_truth: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.size)


def read_images(rows: pa.Table, classes: int) -> Images:
    """The rows of one draw.

    Raises:
        ResultError: lists of an image that do not fit each other, boxes turned inside out or not finite, scores that
            are not in [0, 1] or not in descending order, labels that are no class, masks of another size.
    """
    sides = (columns.integers(rows, "height", _LARGEST), columns.integers(rows, "width", _LARGEST))
    size = np.stack(sides, axis=1)
    if not size.all():
        raise columns.malformed("images of some size", "one of 0 pixels")
    masked = "masks" in rows.column_names
    if masked != ("target_masks" in rows.column_names):
        raise columns.malformed("masks on both sides or on neither", f"columns {rows.column_names}")
    targets = _read_boxes(rows, "target_", classes, size, masked)
    found = _read_boxes(rows, "", classes, size, masked)
    score = _values(rows, "scores", found.image)
    if not ((score >= 0) & (score <= 1)).all():  # also where it is not a number
        raise columns.malformed("scores in [0, 1]", f"{score[~((score >= 0) & (score <= 1))][0]}")
    if (np.diff(score)[np.diff(found.image) == 0] > 0).any():
        raise columns.malformed("detections of an image best first", "a better one after a worse one")
    area = _values(rows, "target_areas", targets.image)
    if not (np.isfinite(area) & (area >= 0)).all():
        raise columns.malformed("areas in pixels", f"{area[~(np.isfinite(area) & (area >= 0))][0]}")
    return Images(
        size=size,
        targets=targets,
        crowd=_values(rows, "target_crowd", targets.image).astype(bool),
        difficult=_values(rows, "target_difficult", targets.image).astype(bool),
        area=area.astype(np.float64),
        found=found,
        score=score,
        truth=_truth(rows, ("boxes", "labels", "crowd", "difficult", "areas")),
        mask_truth=_truth(rows, ("boxes", "labels", "crowd", "difficult", "areas", "masks")),
    )


def _read_boxes(rows: pa.Table, side: str, classes: int, size: NDArray[np.int64], masked: bool) -> Boxes:
    lengths = _list(rows, f"{side}labels")[1]
    image = np.repeat(np.arange(len(rows)), lengths)
    label = _values(rows, f"{side}labels", image).astype(np.int64)
    columns.check_range(label, f"{side}labels", classes)
    box = _values(rows, f"{side}boxes", image, 4).astype(np.float64).reshape(-1, 4)
    if not np.isfinite(box).all() or (box[:, 2:] < box[:, :2]).any():
        wrong = box[~np.isfinite(box).all(axis=1) | (box[:, 2:] < box[:, :2]).any(axis=1)][0]
        raise columns.malformed(f"x0, y0, x1, y1 with x0 <= x1 and y0 <= y1 in '{side}boxes'", f"{wrong.tolist()}")
    if not masked:
        return Boxes(image, label, box, None, np.zeros(0, np.int64))
    masks, lengths = _list(rows, f"{side}masks")
    _check_same(f"{side}masks", image, lengths, 1)
    mask_area = areas_of(masks, size.prod(axis=1)[image], f"{side}masks")
    return Boxes(image, label, box, masks, mask_area)


def _list(rows: pa.Table, name: str) -> tuple[pa.Array, NDArray[np.int64]]:
    """The values of a list column one after another, and how many each row has."""
    array = columns.column(rows, name)
    if not (pa.types.is_list(array.type) and array.type.value_type == KINDS[name]):
        raise columns.malformed(f"lists of {KINDS[name]} in {name!r}", str(array.type))
    values = array.flatten()
    if values.null_count:
        raise columns.malformed(f"no nulls within {name!r}", f"{values.null_count}")
    return values, pc.list_value_length(array).to_numpy(zero_copy_only=False).astype(np.int64)


def _values(rows: pa.Table, name: str, image: NDArray[np.int64], width: int = 1) -> np.ndarray:
    """The values of a list column that has `width` numbers for each of the objects at `image`."""
    values, lengths = _list(rows, name)
    _check_same(name, image, lengths, width)
    return values.to_numpy(zero_copy_only=False)


def _check_same(name: str, image: NDArray[np.int64], lengths: NDArray[np.int64], width: int) -> None:
    wanted = width * np.bincount(image, minlength=len(lengths))
    wrong = np.flatnonzero(lengths != wanted)
    if len(wrong):
        found = f"{lengths[wrong[0]]} for {wanted[wrong[0]]} in {len(wrong)} images"
        raise columns.malformed(f"as many in {name!r} as there are labels (times {width})", found)


def _truth(rows: pa.Table, parts: Sequence[str]) -> NDArray[np.int64]:
    """(N,) a digest per image of its size and what is annotated, equal where two tables judge the same."""
    said = [[number.to_bytes(8, "little") for number in rows.column(name).to_pylist()] for name in ("height", "width")]
    for name in (f"target_{part}" for part in parts):
        if name not in rows.column_names:
            continue
        values, lengths = _list(rows, name)
        if pa.types.is_string(values.type):
            said.append([text.encode() for text in pc.binary_join(columns.column(rows, name), ",").to_pylist()])
        else:
            numbers = values.to_numpy(zero_copy_only=False)
            said.append([part.tobytes() for part in np.split(numbers, np.cumsum(lengths)[:-1])])
    digests = (hashlib.blake2b(b"|".join(one), digest_size=8).digest() for one in zip(*said, strict=True))
    return np.frombuffer(b"".join(digests), np.int64)
