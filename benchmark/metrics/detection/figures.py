"""From what each detection found to figures: class by class, then as a mean over classes, then with an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.metrics import columns, intervals
from benchmark.metrics.detection.curves import Ranking
from benchmark.metrics.detection.images import Images, read_images
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.intervals import Z
from benchmark.metrics.names import joined

_SPLITS = 2


@dataclass(frozen=True)
class Figure:
    """A figure of one draw.

    Attributes:
        value: a share in [0, 1].
        influence: (N,) of each image on it, with mean 0.
        objects: how many objects it is about.
        unseen: the variance that `influence` cannot show, of classes with objects in a single image.
        excess: how much too high such a figure is on average, on as many images.
    """

    value: float
    influence: NDArray[np.float64]
    objects: int
    unseen: float
    excess: float = 0.0


@dataclass(frozen=True)
class OfClass:
    """A class that has objects to find.

    Attributes:
        ranking: its detections.
        rows: (D,) which detections of all these are, best first (those that never count are left out).
        objects: (P,) which objects of all there are to find.
    """

    ranking: Ranking
    rows: NDArray[np.int64]
    objects: NDArray[np.int64]

    def within(self, images: Images, kept: NDArray[np.bool_]) -> Ranking | None:
        """The ranking on some of the images, (N,); None where they have no objects of the class."""
        positives = int(kept[images.targets.image[self.objects]].sum())
        rows = kept[images.found.image[self.rows]]
        return Ranking(self.ranking.true[:, rows], self.ranking.shown[:, rows], positives) if positives else None


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
    order = order[shown[order].any(axis=1)]
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


class Tally:
    """A mean over classes, gathered class by class with the influence of every image on it.

    The spread of n numbers around their own mean is n / (n - 1) too small a variance, and of n images with objects of a
    class little else is seen: the influence of a class is raised by the root of that. Where n is 1 there is no spread
    to see, and the largest that a share can have stands in (Agresti & Coull's, 1998, for one trial).
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        self._gain = np.zeros(len(images.found))
        self._loss = np.zeros(len(images.targets))
        self._values: list[float] = []
        self._objects = 0
        self._unseen = 0.0

    def add(self, part: OfClass, value: float, gain: NDArray[np.float64], loss: float) -> None:
        """A class whose figure is `value`, grows by `gain` (D,) with each detection and falls by `loss` in all with its
        objects.
        """
        places = len(np.unique(self._images.targets.image[part.objects]))
        raised = np.sqrt(places / (places - 1)) if places > 1 else 1.0
        self._gain[part.rows] = raised * gain
        self._loss[part.objects] = raised * loss / len(part.objects)
        self._values.append(value)
        self._objects += len(part.objects)
        if places == 1:
            share = (value + Z**2 / 2) / (1 + Z**2)
            self._unseen += share * (1 - share) / (1 + Z**2)

    def figure(self, excess: float = 0.0) -> Figure:
        """The mean over the classes, of which there is at least one; `excess` of their sum."""
        n, classes = len(self._images), len(self._values)
        gain = np.bincount(self._images.found.image, self._gain, n)
        loss = np.bincount(self._images.targets.image, self._loss, n)
        influence = (gain - loss) * (n / classes)
        value = float(np.mean(self._values))
        return Figure(value, influence - influence.mean(), self._objects, self._unseen / classes**2, excess / classes)


class Precisions:
    """Average precisions, each a mean over some of the levels of overlap, gathered class by class.

    The best precision at a recall or beyond is a maximum over noise: where objects are few, the figure is too high on
    average. By how much is seen on halves of the images, where it is higher still: such an excess falls with about
    the 2/3 power of their number, as that of monotone estimators does, so the halves' over the whole's is 2^(2/3).

    Args:
        images: N.
        levels: name -> those of the T levels that it is the mean over.
        read: the (T,) average precisions of a ranking.
    """

    def __init__(
        self, images: Images, levels: Mapping[str, slice], read: Callable[[Ranking], NDArray[np.float64]]
    ) -> None:
        self._images, self._levels, self._read = images, levels, read
        self._tallies = {name: Tally(images) for name in levels}
        self._excess = dict.fromkeys(levels, 0.0)
        rng = np.random.default_rng(0)
        self._halves = [rng.permutation(len(images)) < len(images) // 2 for _ in range(_SPLITS)]

    def add(self, part: OfClass, weight: NDArray[np.float64]) -> None:
        """A class; `weight` (T, D) says how its figure is read off its ranking, see `Ranking.influence`."""
        values, area, gain = self._read(part.ranking), part.ranking.area(), part.ranking.influence(weight)
        excess = self._excess_of(part, values)
        for name, chosen in self._levels.items():
            value, loss = float(values[chosen].mean()), float(area[chosen].mean())
            self._tallies[name].add(part, value, gain[chosen].mean(axis=0), loss)
            self._excess[name] += float(excess[chosen].mean())

    def figures(self) -> dict[str, Figure]:
        """The means over the classes that were added, of which there is at least one."""
        return {name: tally.figure(self._excess[name]) for name, tally in self._tallies.items()}

    def _excess_of(self, part: OfClass, values: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.zeros_like(values)
        for half in self._halves:
            halves = [part.within(self._images, kept) for kept in (half, ~half)]
            if all(halves):
                found += np.mean([self._read(one) for one in halves if one is not None], axis=0) - values
        return found / _SPLITS / (2 ** (2 / 3) - 1)


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
        if any(not np.array_equal(one.mask_truth, draws[0].mask_truth) for one in draws):
            raise columns.malformed("the same objects in every draw", f"others within variant {variant!r}")
        each = [figures(images, classes) for images in draws]
        if not each[0]:
            raise columns.malformed("objects to find", "none that counts")
        for name in each[0]:
            truth = draws[0].mask_truth if name.startswith("mask_") else draws[0].truth
            found.append(_estimate(joined(name, variant), ids, truth, [one[name] for one in each]))
    return found


def _estimate(name: str, ids: np.ndarray, truth: NDArray[np.int64], draws: Sequence[Figure]) -> Estimate:
    per_draw = np.array([figure.value for figure in draws])
    influence = np.mean([figure.influence for figure in draws], axis=0)
    value = float(np.clip(per_draw.mean(), 0, 1))

    def interval() -> tuple[float, float]:
        low, high = _interval(draws)
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


def _interval(draws: Sequence[Figure]) -> tuple[float, float]:
    """On the logit scale, from the influence of images; the lower limit is that of the figure without its excess."""
    value, excess, unseen = (
        float(np.mean([getattr(figure, name) for figure in draws])) for name in ("value", "excess", "unseen")
    )
    influence = np.mean([figure.influence for figure in draws], axis=0)
    error = float(np.hypot(intervals.standard_error(influence), np.sqrt(unseen)))
    # Rounded: COCOeval's perfect precision of one detection is the number below 1.
    centres = [round(float(np.clip(centre, 0, 1)), 12) for centre in (value, value - max(0.0, excess))]
    limits = [intervals.on_logit_scale(centre, error, draws[0].objects) for centre in centres]
    return min(centres[0], *(low for low, _ in limits)), max(centres[0], limits[0][1])
