"""PASCAL VOC's protocol against its development kit worked by hand, and against plain loops over its rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.annotations import Objects
from benchmark.errors import ResultError
from benchmark.metrics.detection.overlap import box_overlap
from benchmark.metrics.detection.table import Detections
from benchmark.metrics.registry import score
from tests.metrics.detection.worlds import World, table_of, world

LEVELS = [level / 100 for level in range(50, 100, 5)]


def figures(found: World, classes: int) -> dict[str, float]:
    return {metric.name: metric.value for metric in score(table_of(found, classes, "detection-voc"))}


def objects(boxes: list[list[float]], difficult: list[bool] | None = None) -> Objects:
    """Of class 0, boxes as VOC writes them: from 1 to the last pixel."""
    there = np.array(boxes, float).reshape(-1, 4) - [1, 1, 0, 0]
    count = len(there)
    unsure = np.array(difficult or [False] * count, bool)
    areas = (there[:, 2:] - there[:, :2]).prod(axis=1)
    return Objects(there, np.zeros(count, np.int64), np.zeros(count, bool), unsure, areas, None, (100, 100))


def found(boxes: list[list[float]], scores: list[float]) -> Detections:
    there = np.array(boxes, float).reshape(-1, 4) - [1, 1, 0, 0]
    return Detections(there, np.zeros(len(there), np.int64), np.array(scores))


def test_a_page_of_the_development_kit_worked_by_hand() -> None:
    """Three objects that count, one difficult; seven detections.

    In the order of scores: found (1 of 1, a third of the objects), the same object again (1 of 2), the difficult one
    twice (neither way), an overlap of exactly 50 x 100 of 100 x 100 pixels (reached: 2 of 3, two thirds), nothing there
    (2 of 4), the last object (3 of 5, all).
    """
    images: World = (
        [
            objects([[1, 1, 20, 20], [50, 50, 69, 69]], [False, True]),
            objects([[1, 1, 100, 100]]),
            objects([[11, 1, 30, 10]]),
        ],
        [
            found([[1, 1, 20, 20], [2, 2, 21, 21], [50, 50, 69, 69], [51, 50, 70, 69]], [0.9, 0.8, 0.7, 0.6]),
            found([[1, 1, 50, 100]], [0.5]),
            found([[60, 60, 80, 80], [11, 1, 30, 10]], [0.4, 0.3]),
        ],
    )
    got = figures(images, 1)
    # Recalls 0, .1, .2, .3 at 1; .4, .5, .6 at 2/3; .7, .8, .9, 1 at 3/5.
    assert got["AP50@11pt"] == pytest.approx(100 * (4 + 3 * 2 / 3 + 4 * 3 / 5) / 11, abs=1e-12)
    assert got["AP50@area"] == pytest.approx(100 * (1 + 2 / 3 + 3 / 5) / 3, abs=1e-12)
    # Above .5 the second object is missed: precisions 1 up to 1/3 of the objects, 2/5 up to 2/3.
    assert got["AP75"] == got["AP50"] == pytest.approx(100 * (4 + 3 * 2 / 5) / 11, abs=1e-12)
    assert got["AP75@area"] == pytest.approx(100 * (1 + 2 / 5) / 3, abs=1e-12)
    # Above .95 the second detection of the difficult object (380 of 420 pixels) is a mistake as well: 2/6.
    assert got["AP@area"] == pytest.approx(100 * (9 * (1 + 2 / 5) + (1 + 2 / 6)) / 3 / 10, abs=1e-12)


def test_a_detection_is_for_its_best_object_even_where_that_is_taken() -> None:
    there = [objects([[1, 1, 10, 10], [1, 3, 10, 12]])]
    both = [found([[1, 1, 10, 10], [1, 1, 10, 11]], [0.9, 0.8])]  # the second overlaps the other object by 9 of 12
    assert figures((there, both), 1)["AP50@area"] == pytest.approx(50)
    assert score(table_of((there, both), 1))[1].value == pytest.approx(100)  # COCO's rule gives it the other one


def test_overlaps_are_those_of_boxes_that_count_pixels() -> None:
    rng = np.random.default_rng(0)
    corner, size = rng.integers(1, 40, (2, 500, 2)), rng.integers(0, 40, (2, 500, 2))
    (a, b), crowd = np.concatenate([corner, corner + size], axis=2).astype(float), np.zeros(500, bool)
    both = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + 1).clip(0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2] + 1).prod(axis=1) for box in (a, b)]
    shift = np.array([1, 1, 0, 0])
    assert np.array_equal(box_overlap(a - shift, b - shift, crowd), both / (areas[0] + areas[1] - both))
    assert (both > 0).sum() > 100


def by_rules(images: World, label: int, least: float, reached: bool) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) of one class, one detection after the other."""
    guesses = [
        (-float(score), image, box.astype(float))
        for image, one in enumerate(images[1])
        for box, own, score in zip(one.boxes, one.labels, one.scores, strict=True)
        if own == label
    ]
    taken: set[tuple[int, int]] = set()
    marks = []
    for _, image, box in sorted(guesses, key=lambda guess: guess[0]):
        there = images[0][image]
        best, place = -1.0, -1
        for index in np.flatnonzero(there.labels == label):
            x0, y0, x1, y1 = there.boxes[index] + [1, 1, 0, 0]
            left, top = max(x0, box[0] + 1), max(y0, box[1] + 1)
            width, height = min(x1, box[2]) - left + 1, min(y1, box[3]) - top + 1
            if width <= 0 or height <= 0:
                continue
            whole = (x1 - x0 + 1) * (y1 - y0 + 1) + (box[2] - box[0]) * (box[3] - box[1])
            overlap = width * height / (whole - width * height)
            if overlap > best:
                best, place = overlap, int(index)
        if not (best >= least if reached else best > least):
            marks.append((0, 1))
        elif not there.difficult[place]:
            marks.append((0, 1) if (image, place) in taken else (1, 0))
            taken.add((image, place))
    hit, miss = np.cumsum(np.array(marks).reshape(-1, 2), axis=0).T
    total = sum(int(((one.labels == label) & ~one.difficult).sum()) for one in images[0])
    return hit / total, hit / (hit + miss)


def averaged(recall: np.ndarray, precision: np.ndarray, points: np.ndarray | None) -> float:
    """Over recalls, or the area."""
    if points is not None:
        return float(np.mean([max(precision[recall >= point], default=0.0) for point in points]))
    steps = np.diff(np.concatenate([[0], recall]))
    return sum(step * precision[place:].max() for place, step in enumerate(steps) if step > 0)


@pytest.mark.parametrize("seed", range(4))
def test_every_figure_is_what_the_rules_give(seed: int) -> None:
    images = world(25, 5, seed, crowds=0.0, difficult=0.3, whole=seed % 2 == 0, side=150)
    labels = [label for label in range(5) if any(((one.labels == label) & ~one.difficult).any() for one in images[0])]
    kit = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]) - 1e-12
    expected = {}
    for way, points in (("11pt", kit), ("area", None)):
        above = None if points is None else np.arange(0, 1.1, 0.1)
        expected[f"AP50@{way}"] = np.mean([averaged(*by_rules(images, one, 0.5, True), points) for one in labels])
        each = [np.mean([averaged(*by_rules(images, one, at, False), above) for one in labels]) for at in LEVELS]
        over = "@area" if way == "area" else ""
        expected[f"AP{over}"], expected[f"AP75{over}"] = np.mean(each), each[5]
        if points is not None:
            expected["AP50"] = each[0]
    got = figures(images, 5)
    assert got == pytest.approx({name: 100 * value for name, value in expected.items()}, abs=1e-10)
    assert 5 < got["AP50@11pt"] < 80


def test_difficult_objects_leave_no_trace() -> None:
    images = world(25, 5, 3, crowds=0.0, difficult=0.3)
    without = [_kept(one, ~one.difficult) for one in images[0]]
    assert figures(images, 5) != figures((without, images[1]), 5)  # detections of them would be mistakes
    nothing = [replace(one, difficult=np.ones(len(one), bool)) for one in images[0]]
    with pytest.raises(ResultError, match="objects to find"):
        figures((nothing, images[1]), 5)


def _kept(one: Objects, rows: np.ndarray) -> Objects:
    parts = {name: getattr(one, name)[rows] for name in ("boxes", "labels", "crowd", "difficult", "areas")}
    return replace(one, **parts)


def test_crowds_are_refused() -> None:
    with pytest.raises(ResultError, match="crowds"):
        figures(world(10, 5, 1, crowds=0.5), 5)
