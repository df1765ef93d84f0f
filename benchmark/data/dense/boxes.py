"""Objects of a split in flat arrays, checked when they are built and handed out image by image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pycocotools import mask as coco

from benchmark.data.annotations import Objects
from benchmark.data.dense.masks import check_size
from benchmark.data.runlength import run_lengths
from benchmark.errors import DataError

TOLERANCE = 1.0  # pixels that a box may stand out: annotation tools round, and VOC counts from 1


@dataclass
class Found:
    """Objects while a source reads them, one entry per object.

    Attributes:
        image: place of the image within the split.
        name: of the annotation, for messages (`annotation 17 of instances.json`).
        box: x0, y0, x1, y1.
        label: class index.
        crowd, difficult: see `Objects`.
        area: as annotated; None for that of the box.
        segment: polygons or run lengths as COCO writes them, or None.
    """

    image: list[int] = field(default_factory=list)
    name: list[str] = field(default_factory=list)
    box: list[tuple[float, float, float, float]] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    area: list[float | None] = field(default_factory=list)
    segment: list[object] = field(default_factory=list)


@dataclass(frozen=True)
class BoxReader:
    """The objects of a split.

    Attributes:
        images: (N,) paths.
        files: (N,) what annotates each image, for messages.
        sizes: (N, 2) int64 width and height as annotated.
        starts: (N + 1,) the first object of each image, and their number M.
        boxes, labels, crowd, difficult, areas: (M, ...) as in `Objects`.
        segments: (M,) JSON of COCO's polygons or run lengths; None without any.
        names: (M,) of the annotations, for messages.
    """

    images: tuple[str, ...]
    files: tuple[str, ...]
    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    areas: NDArray[np.float64]
    segments: pa.Array | None
    names: pa.Array

    @classmethod
    def of(cls, images: Sequence[str], files: Sequence[str], sizes: NDArray[np.int64], found: Found) -> BoxReader:
        """Sorts objects by image and checks their boxes.

        Raises:
            DataError: a box that is no box, or reaches out of its image; names the annotation.
        """
        image = np.array(found.image, np.int64)
        order = np.argsort(image, kind="stable")
        boxes = np.array(found.box, np.float64).reshape(-1, 4)[order]
        names = pa.array(found.name, pa.string()).take(pa.array(order))
        image = image[order]
        _check_boxes(boxes, sizes[image], names)
        limits = np.concatenate([sizes[image], sizes[image]], axis=1).astype(np.float64)
        boxes = np.clip(boxes, 0, limits)
        sides = boxes[:, 2:] - boxes[:, :2]
        areas = np.array([np.nan if area is None else area for area in found.area], np.float64)[order]
        segments = [found.segment[index] for index in order.tolist()]
        return cls(
            images=tuple(images),
            files=tuple(files),
            sizes=sizes,
            starts=np.searchsorted(image, np.arange(len(images) + 1)),
            boxes=boxes,
            labels=np.array(found.label, np.int64)[order],
            crowd=np.array(found.crowd, bool)[order],
            difficult=np.array(found.difficult, bool)[order],
            areas=np.where(np.isnan(areas), sides.prod(axis=1), areas),
            segments=pa.array(map(json.dumps, segments), pa.large_string()) if any(segments) else None,
            names=names,
        )

    def __len__(self) -> int:
        return len(self.images)

    def size(self, index: int) -> tuple[int, int]:
        """(h, w) of image `index` as annotated."""
        width, height = self.sizes[index].tolist()
        return height, width

    def count(self, index: int) -> int:
        """How many objects image `index` has, crowds not counted."""
        return int((~self.crowd[self.starts[index] : self.starts[index + 1]]).sum())

    def objects(self, index: int) -> Objects:
        """The objects of image `index`.

        Raises:
            DataError: the image is of another size than its annotation says, or a segment cannot be drawn.
        """
        width, height = self.sizes[index].tolist()
        check_size(width, height, self.files[index], self.images[index])
        rows = slice(int(self.starts[index]), int(self.starts[index + 1]))
        segments = None
        if self.segments is not None:
            segments = tuple(
                _drawn(json.loads(self.segments[row].as_py()), (height, width), self.names[row].as_py())
                for row in range(rows.start, rows.stop)
            )
        return Objects(
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            crowd=self.crowd[rows],
            difficult=self.difficult[rows],
            areas=self.areas[rows],
            segments=segments,
            size=(height, width),
        )


def _check_boxes(boxes: NDArray[np.float64], sizes: NDArray[np.int64], names: pa.Array) -> None:
    wrong = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = f"{boxes[row].tolist()} (x0, y0, x1, y1) of {names[row].as_py()} ({int(wrong.sum())} such)"
        raise DataError("boxes of some width and height", found, "correct or remove it")
    out = (boxes[:, :2] < -TOLERANCE).any(axis=1) | (boxes[:, 2:] > sizes + TOLERANCE).any(axis=1)
    if out.any():
        row = int(np.flatnonzero(out)[0])
        width, height = sizes[row].tolist()
        found = f"{boxes[row].tolist()} (x0, y0, x1, y1) of {names[row].as_py()} in {width} x {height} pixels"
        raise DataError("boxes within their image", f"{found} ({int(out.sum())} such)", "correct or remove it")


def _drawn(segment: object, size: tuple[int, int], name: str) -> NDArray[np.int64]:
    """Run lengths of polygons or of COCO's own codes.

    Raises:
        DataError: the segment is none of these.
    """
    height, width = size
    try:
        if isinstance(segment, dict) and isinstance(segment.get("counts"), list):
            codes = coco.frPyObjects(segment, height, width)
        elif isinstance(segment, dict):
            codes = {"size": segment["size"], "counts": segment["counts"].encode()}
        else:
            codes = coco.merge(coco.frPyObjects(segment, height, width))
        mask = np.array(coco.decode(codes), dtype=bool)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise DataError("polygons or run lengths", f"{error} in {name}", "correct or remove it") from None
    if mask.shape != size:
        found = f"{mask.shape[1]} x {mask.shape[0]} in {name} of an image of {width} x {height}"
        raise DataError("masks of the size of their image", found, "correct it")
    return run_lengths(mask)
