"""Which detection finds which object: COCO's greedy rule and the one of PASCAL VOC's development kit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.detection.overlap import Pairs


def match_greedily(
    pairs: Pairs,
    cell: NDArray[np.int64],
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """COCO's rule, under every threshold and every way to ignore objects at once.

    Detections of an image and class come in the order of their scores. Each takes the object that it overlaps most,
    the later one of equals, among those that reach the threshold and that no earlier one has taken; ignored objects
    only where no other is left, and a crowd as often as one likes.

    Args:
        pairs: those that may match.
        cell: (D,) a number for the image and class of each detection; those of one number are best first.
        ignored: (G, A) whether an object counts neither way, in A ways.
        crowd: (G,)
        thresholds: (T,) the least overlap.

    Returns:
        (D, A, T) whether the detection takes an object, and whether that object is an ignored one.
    """
    shape = (ignored.shape[1], len(thresholds))
    taken = np.zeros((len(ignored), *shape), bool)
    matched = np.zeros((len(cell), *shape), bool)
    lost = np.zeros((len(cell), *shape), bool)
    # For one detection: by preference, least first.
    order = np.lexsort((pairs.target, pairs.overlap, pairs.found))
    found, target, overlap = pairs.found[order], pairs.target[order], pairs.overlap[order]
    for chosen in _turns(found, cell):
        place = np.arange(len(chosen))
        objects = target[chosen]
        reach = overlap[chosen, None] >= np.minimum(thresholds, 1 - 1e-10)
        free = ~taken[objects] | crowd[objects, None, None]
        counts = ~ignored[objects][:, :, None]
        # The place in the order of preference, those that count after all others; -1 where there is no match.
        rank = np.where(free & reach[:, None, :], place[:, None, None] + counts * len(chosen), -1)
        starts = np.flatnonzero(np.concatenate([[True], np.diff(found[chosen]) != 0]))
        best = np.maximum.reduceat(rank, starts, axis=0)
        who, way, level = np.nonzero(best >= 0)
        rank_won = best[who, way, level]
        won = objects[rank_won % len(chosen)]
        taken[won, way, level] = True
        detection = found[chosen[starts]][who]
        matched[detection, way, level] = True
        lost[detection, way, level] = rank_won < len(chosen)
    return matched, lost


def place_within(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) how many of the same group came before."""
    order = np.argsort(group, kind="stable")
    _, sizes = np.unique(group, return_counts=True)
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return place


def _turns(found: NDArray[np.int64], cell: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Pairs of the first detection of every image and class that has any, those of the second, and so on."""
    if not len(found):
        return []
    detections, index = np.unique(found, return_inverse=True)
    turn = place_within(cell[detections])[index]
    return np.split(np.argsort(turn, kind="stable"), np.cumsum(np.bincount(turn))[:-1])


def match_best(
    pairs: Pairs, order: NDArray[np.int64], difficult: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The rule of PASCAL VOC's development kit (`VOCevaldet.m`), under every threshold at once.

    Each detection is for the object that it overlaps most, the first of equals, and for no other. The best-scored one
    that reaches the threshold finds it; later ones are mistakes. Where the object is difficult, all of them count
    neither way.

    Args:
        pairs: those that may match.
        order: (D,) all detections, best first.
        difficult: (G,)
        thresholds: (T,) the least overlap.

    Returns:
        (D, T) whether the detection finds an object, and whether it counts neither way.
    """
    matched = np.zeros((len(order), len(thresholds)), bool)
    lost = np.zeros((len(order), len(thresholds)), bool)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    # The object of each detection: of its pairs, the one with the largest overlap, the first of equals.
    by_preference = np.lexsort((pairs.target, -pairs.overlap, pairs.found))
    found, first = np.unique(pairs.found[by_preference], return_index=True)
    best = by_preference[first]
    best = best[np.argsort(rank[found], kind="stable")]
    found, target, overlap = pairs.found[best], pairs.target[best], pairs.overlap[best]
    for level, threshold in enumerate(thresholds):
        reach = np.flatnonzero(overlap >= threshold)
        lost[found[reach], level] = difficult[target[reach]]
        _, winners = np.unique(target[reach], return_index=True)
        matched[found[reach[winners]], level] = ~difficult[target[reach[winners]]]
    return matched, lost
