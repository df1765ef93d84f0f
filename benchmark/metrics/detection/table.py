"""Building the table of the detection scorers: a row per image, lists of what is annotated and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.metrics import columns
from benchmark.metrics.detection.codes import encode_runs

MAX_DETECTIONS = 100
"""Of an image, best first: what COCO's protocol looks at, and what published detectors keep."""


class Annotated(Protocol):
    """The objects of an image, as `benchmark.data.annotations.Objects` has them."""

    @property
    def boxes(self) -> np.ndarray:
        """(K, 4) x0, y0, x1, y1; 0 is the near edge of the first pixel."""

    @property
    def labels(self) -> np.ndarray:
        """(K,) class indices."""

    @property
    def crowd(self) -> np.ndarray:
        """(K,) bool."""

    @property
    def difficult(self) -> np.ndarray:
        """(K,) bool."""

    @property
    def areas(self) -> np.ndarray:
        """(K,) pixels, as annotated."""

    @property
    def segments(self) -> tuple[NDArray[np.int64], ...] | None:
        """(K,) masks as run lengths, or None."""

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image, D of them in any order.

    Attributes:
        boxes: (D, 4) x0, y0, x1, y1 in pixels of the image as it is stored, edges as in `Annotated`.
        labels: (D,) class indices.
        scores: (D,) in [0, 1].
        masks: (D,) COCO's compressed run lengths (`codes.encode_masks`, or `counts` of pycocotools' `encode`) of masks
            of the whole image, or None for boxes alone.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: Sequence[str | bytes] | None = None


def detection_table(
    ids: pa.Array,
    objects: Iterable[Annotated],
    found: Iterable[Detections],
    classes: int,
    *,
    scorer: Literal["detection", "detection-voc"] = "detection",
    max_detections: int = MAX_DETECTIONS,
    variant: str = "",
    draw: int = 0,
) -> pa.Table:
    """Rows of one variant and draw for `detection` (COCO's protocol) or `detection-voc`; join several with `join`.

    Takes images one at a time. The best `max_detections` of each are kept, best first, those of equal scores in the
    order given.

    Args:
        ids: (N,) Arrow strings.
        objects: N, what is annotated (difficult objects too).
        found: N, what was found; with masks for all images or for none. With masks, `objects` must have them too.
        classes: C.
        scorer: whose figures are wanted.
        max_detections: of an image.
        variant: the setting within the protocol, see the `metrics` folder's docstring.
        draw: the number of the protocol's own random draw.

    Raises:
        ResultError: not N of them, or parts of one image that do not fit each other.
        ValueError: fewer of `objects` than of `found`, or more.
    """
    lists: dict[str, _Lists] = {name: _Lists(kind) for name, kind in KINDS.items()}
    sizes: list[tuple[int, int]] = []
    masked: bool | None = None
    for target, detections in zip(objects, found, strict=True):
        if masked is None:
            masked = detections.masks is not None
        if masked != (detections.masks is not None):
            raise columns.malformed("masks for all images or for none", f"another way in image {len(sizes)}")
        sizes.append(target.size)
        _add_targets(lists, target, masked)
        _add_found(lists, detections, max_detections)
    n = len(ids)
    if len(sizes) != n:
        raise columns.malformed(f"{n} images", f"{len(sizes)}")
    height, width = np.array(sizes, np.int32).reshape(-1, 2).T
    table = {
        "variant": pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([variant], pa.string())),
        "draw": pa.array(np.full(n, draw, np.int32)),
        "sample": pa.concat_arrays(ids.chunks).cast(pa.string()) if isinstance(ids, pa.ChunkedArray) else ids,
        "height": pa.array(height),
        "width": pa.array(width),
        **{name: one.array() for name, one in lists.items() if masked or not name.endswith("masks")},
    }
    return columns.stamp(pa.table(table), scorer, classes)


KINDS: dict[str, pa.DataType] = {
    "target_boxes": pa.float64(),
    "target_labels": pa.int32(),
    "target_crowd": pa.bool_(),
    "target_difficult": pa.bool_(),
    "target_areas": pa.float64(),
    "target_masks": pa.string(),
    "boxes": pa.float32(),
    "labels": pa.int32(),
    "scores": pa.float32(),
    "masks": pa.string(),
}
"""The list columns: `boxes` hold four numbers per object, all others one."""


@dataclass
class _Lists:
    """A list column while it grows."""

    kind: pa.DataType
    parts: list[pa.Array] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def add(self, values: np.ndarray | list[str]) -> None:
        self.parts.append(pa.array(values, self.kind))
        self.lengths.append(len(values))

    def array(self) -> pa.ListArray:
        values = pa.concat_arrays([pa.array([], self.kind), *self.parts])
        return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *self.lengths]), pa.int32()), values)


def _add_targets(lists: dict[str, _Lists], target: Annotated, masked: bool) -> None:
    _check_lengths("objects", len(target.labels), target.boxes, target.crowd, target.difficult, target.areas)
    lists["target_boxes"].add(np.asarray(target.boxes, np.float64).ravel())
    lists["target_labels"].add(np.asarray(target.labels, np.int32))
    lists["target_crowd"].add(np.asarray(target.crowd, bool))
    lists["target_difficult"].add(np.asarray(target.difficult, bool))
    lists["target_areas"].add(np.asarray(target.areas, np.float64))
    if masked:
        if target.segments is None:
            raise columns.malformed("masks of the annotated objects beside those found", "none")
        _check_lengths("objects", len(target.labels), target.segments)
        lists["target_masks"].add(encode_runs(target.segments, target.size))


def _add_found(lists: dict[str, _Lists], found: Detections, keep: int) -> None:
    _check_lengths("detections", len(found.labels), found.boxes, found.scores)
    best = np.argsort(-np.asarray(found.scores, np.float32), kind="stable")[:keep]
    lists["boxes"].add(np.asarray(found.boxes, np.float32).reshape(-1, 4)[best].ravel())
    lists["labels"].add(np.asarray(found.labels, np.int32)[best])
    lists["scores"].add(np.asarray(found.scores, np.float32)[best])
    if found.masks is not None:
        _check_lengths("detections", len(found.labels), found.masks)
        chosen = [found.masks[index] for index in best.tolist()]
        lists["masks"].add([code.decode() if isinstance(code, bytes) else code for code in chosen])


def _check_lengths(what: str, count: int, *parts: Sequence[object] | np.ndarray) -> None:
    lengths = [len(part) for part in parts]
    if any(length != count for length in lengths):
        raise columns.malformed(f"equally many of everything about the {what} of an image", f"{[count, *lengths]}")
