"""From what each detection found to figures: class by class, then as a mean over classes, then with an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.metrics import columns, intervals
from benchmark.metrics.detection.curves import Ranking
from benchmark.metrics.detection.table import Images, read_images
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import joined


@dataclass(frozen=True)
class Figure:
    """A figure of one draw.

    Attributes:
        value: a share in [0, 1].
        influence: (N,) of each image on it, with mean 0.
        objects: how many objects it is about.
    """

    value: float
    influence: NDArray[np.float64]
    objects: int


@dataclass(frozen=True)
class OfClass:
    """A class that has objects to find.

    Attributes:
        ranking: its detections.
        rows: (D,) which detections of all these are, best first.
        objects: (P,) which objects of all there are to find.
    """

    ranking: Ranking
    rows: NDArray[np.int64]
    objects: NDArray[np.int64]


def by_class(
    images: Images,
    ignored: NDArray[np.bool_],
    true: NDArray[np.bool_],
    shown: NDArray[np.bool_],
    order: NDArray[np.int64],
    classes: int,
) -> Iterator[OfClass]:
    """Every class with objects that count, ascending.

    Args:
        images: N.
        ignored: (G,) objects that count neither way.
        true: (D, T) bool: finds an object.
        shown: (D, T) bool: counts, as found or as a mistake.
        order: (D,) all detections, best first.
        classes: C.
    """
    label = images.found.label[order]
    order = order[np.argsort(label, kind="stable")]
    edges = np.cumsum(np.bincount(label, minlength=classes))
    objects = np.flatnonzero(~ignored)
    objects = objects[np.argsort(images.targets.label[objects], kind="stable")]
    object_edges = np.cumsum(np.bincount(images.targets.label[objects], minlength=classes))
    for rows, wanted in zip(np.split(order, edges[:-1]), np.split(objects, object_edges[:-1]), strict=True):
        if len(wanted):
            ranking = Ranking(np.ascontiguousarray(true[rows].T), np.ascontiguousarray(shown[rows].T), len(wanted))
            yield OfClass(ranking, rows, wanted)


class Influence:
    """Of every image on a mean over classes, gathered class by class."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._gain = np.zeros(len(images.found))
        self._loss = np.zeros(len(images.targets))

    def add(self, part: OfClass, gain: NDArray[np.float64], value: float) -> None:
        """A class whose figure is `value` and grows by `gain` (D,) with each detection."""
        self._gain[part.rows] = gain
        self._loss[part.objects] = value / len(part.objects)

    def figure(self, value: float, classes: int) -> Figure:
        """The figure that is a mean over that many classes."""
        n = len(self._images)
        change = np.bincount(self._images.found.image, self._gain, n)
        change -= np.bincount(self._images.targets.image, self._loss, n)
        influence = change * n / classes
        return Figure(value, influence - influence.mean(), int(np.count_nonzero(self._loss)))


def estimates_of(table: pa.Table, figures: Callable[[Images, int], Mapping[str, Figure]]) -> list[Estimate]:
    """What `figures` says of the images and the class count of every draw of every variant.

    Raises:
        ResultError: the table is malformed, draws differ in what is annotated, or nothing is to be found.
    """
    classes = columns.facts_of(table)["classes"]
    found: list[Estimate] = []
    for variant, rows in columns.by_variant(table):
        ids, _, tables = columns.by_draw(rows)
        draws = [read_images(part, classes) for part in tables]
        if any(not np.array_equal(one.truth, draws[0].truth) for one in draws):
            raise columns.malformed("the same objects in every draw", f"others within variant {variant!r}")
        each = [figures(images, classes) for images in draws]
        if not each[0]:
            raise columns.malformed("objects to find", "none that counts")
        for name in each[0]:
            found.append(_estimate(joined(name, variant), ids, draws[0].truth, [one[name] for one in each]))
    return found


def _estimate(name: str, ids: np.ndarray, truth: NDArray[np.int64], draws: Sequence[Figure]) -> Estimate:
    per_draw = np.array([figure.value for figure in draws])
    influence = np.mean([figure.influence for figure in draws], axis=0)
    value = float(np.clip(per_draw.mean(), 0, 1))

    def interval() -> tuple[float, float]:
        low, high = intervals.on_logit_scale(value, intervals.standard_error(influence), draws[0].objects)
        return 100 * low, 100 * high

    return Estimate(
        name=name,
        value=100 * value,
        interval=interval,
        units=ids,
        strata=truth,
        contributions=100 * (value + influence)[:, None],
        per_draw=tuple(100 * float(one) for one in per_draw) if len(per_draw) > 1 else (),
    )
