"""Precision over recall of ranked detections of one class, at several thresholds at once, with their influence.

Nothing is sorted here: detections come best first. Those that count neither way stay in the ranking without effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranking:
    """D detections of a class, best first, under T thresholds.

    Attributes:
        true: (T, D) bool: finds an object.
        shown: (T, D) bool: counts, as found or as a mistake.
        positives: how many objects there are to find, at least one.
    """

    true: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    positives: int

    @cached_property
    def count(self) -> NDArray[np.float64]:
        """(T, D) how many count up to each."""
        return np.cumsum(self.shown, axis=1, dtype=np.float64)

    @cached_property
    def hits(self) -> NDArray[np.float64]:
        """(T, D) how many objects are found up to each."""
        return np.cumsum(self.true, axis=1, dtype=np.float64)

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """(T, D), with the small number in the denominator that COCOeval has there; 0 before anything counts."""
        return self.hits / (self.count + np.spacing(1))

    @cached_property
    def best(self) -> NDArray[np.float64]:
        """(T, D) the highest precision here or later."""
        return np.maximum.accumulate(self.precision[:, ::-1], axis=1)[:, ::-1]

    def first_at(self, recalls: NDArray[np.float64]) -> NDArray[np.int64]:
        """(T, R) the first detection at which each of R ascending recalls is reached, D where none is."""
        rows, wide = self.true.shape
        step = self.positives + 1
        # How many objects a recall takes, as ratios in floating point have it; rows follow each other without overlap.
        needed = np.searchsorted(np.arange(step) / self.positives, recalls, side="left")
        row = np.arange(rows)[:, None]
        return np.searchsorted((self.hits + step * row).ravel(), needed + step * row, side="left") - wide * row

    def best_at(self, first: NDArray[np.int64]) -> NDArray[np.float64]:
        """(T, R) the highest precision from the detections `first` on; 0 at D."""
        padded = np.concatenate([self.best, np.zeros((len(self.best), 1))], axis=1)
        return np.take_along_axis(padded, first, axis=1)

    def area(self) -> NDArray[np.float64]:
        """(T,) area under the best precision over recall."""
        return np.asarray((self.true * self.best).sum(axis=1) / self.positives, np.float64)

    def influence(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D) what each detection adds to a weighted mean of best precisions, beside what the objects take away.

        With w_i the weight of image i, every count is a sum of weights; the derivative at w = 1 has two parts. One
        goes through the precisions that are read off: the detection that sets one enters in true and shown. The
        other goes through recall. On a grid of recalls it comes in jumps, the place of the next detection, that say
        nothing of what resampling does; their mean over where the grid could lie is that of the area, and is taken.
        Summed over the detections of an image, less `area()` per object of it, this is the image's derivative.

        Args:
            weight: (T, D) that of the best precision read off from each detection on; 1 in all.
        """
        wide = self.true.shape[1]
        setter = np.where(self.precision == self.best, np.arange(wide), wide)
        setter = np.minimum.accumulate(setter[:, ::-1], axis=1)[:, ::-1]  # the detection that sets the best precision
        flat = (setter + np.arange(len(setter))[:, None] * wide).ravel()
        read = np.bincount(flat, weight.ravel(), self.true.size).reshape(self.true.shape)
        setting = read / np.maximum(self.count, 1)
        for_true = np.cumsum(setting[:, ::-1], axis=1)[:, ::-1]
        for_shown = np.cumsum((setting * self.precision)[:, ::-1], axis=1)[:, ::-1]
        return self.true * (self.best / self.positives + for_true) - self.shown * for_shown

    def weight_of(self, first: NDArray[np.int64]) -> NDArray[np.float64]:
        """(T, D) for `influence`: a mean over R recalls, where they are first reached; those never reached weigh 0."""
        rows, wide = len(first), self.true.shape[1] + 1
        flat = (first + np.arange(rows)[:, None] * wide).ravel()
        counts = np.bincount(flat, minlength=rows * wide).reshape(rows, wide)
        return counts[:, :-1] / first.shape[1]
