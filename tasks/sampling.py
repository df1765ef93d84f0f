"""Seeded choices of samples: which are drawn or held out depends on ids and seed, not on the order of the data.

NumPy's generator makes every choice, so that CPU and GPU runs choose alike.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from benchmark.task import SplitFeatures


def class_ranks(split: SplitFeatures, seed: int, draw: int = 0) -> np.ndarray:
    """(N,) the place of each sample in a random order of its class: `< k` is a draw of k per class.

    Draws of one seed and number are nested: the first image of a class is also the first of its two.
    """
    labels, order = split.targets.cpu().numpy(), id_order(split.ids)
    keys = np.empty(len(labels))
    keys[order] = np.random.default_rng([seed, draw]).random(len(labels))
    return ranks_within(labels, keys)


def held_out(split: SplitFeatures, fraction: float, seed: int) -> np.ndarray:
    """(N,) bool: a stratified choice of about `fraction` of the samples that leaves at least one of every class.

    Every class gives its share rounded down, and those with the largest remainders give one more until the total is
    met. A class of one image gives none. With several labels per image, a sample is counted under its rarest label
    (the first step of iterative stratification, Sechidis et al. 2011).
    """
    targets = split.targets.cpu().numpy()
    groups = _rarest_label(targets) if targets.ndim == 2 else targets.astype(np.int64)
    rng = np.random.default_rng(seed)
    order = id_order(split.ids)
    keys = np.empty(len(groups))
    keys[order] = rng.random(len(groups))
    size = np.bincount(groups)
    exact = size * fraction
    quota = np.minimum(np.floor(exact), np.maximum(size - 1, 0)).astype(np.int64)
    room = np.flatnonzero(quota < size - 1)
    by_remainder = room[np.lexsort((rng.random(len(room)), -(exact - quota)[room]))]
    quota[by_remainder[: max(0, round(len(groups) * fraction) - int(quota.sum()))]] += 1
    chosen = ranks_within(groups, keys) < quota[groups]
    if targets.ndim == 2:
        chosen = _leave_both_kinds(targets, chosen)
    return chosen


def subset(split: SplitFeatures, chosen: np.ndarray) -> SplitFeatures:
    """The chosen samples of a split; `chosen` is (N,) bool, or indices."""
    index = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
    where = torch.from_numpy(index).to(split.features.device)
    return SplitFeatures(split.features[where], split.targets[where], split.ids.take(pa.array(index)))


def id_order(ids: pa.Array) -> np.ndarray:
    """(N,) the samples in ascending order of id."""
    return pc.sort_indices(ids).to_numpy().astype(np.int64)


def ranks_within(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(N,) the place of each sample among those of its group, by ascending key."""
    order = np.lexsort((keys, groups))
    size = np.bincount(groups)
    start = np.cumsum(size) - size
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - start[groups[order]]
    return ranks


def _rarest_label(indicators: np.ndarray) -> np.ndarray:
    """(N,) the rarest label of each sample; samples without labels form a group of their own."""
    frequency = indicators.sum(axis=0)
    cost = np.where(indicators > 0, frequency, np.inf)
    return np.where(indicators.any(axis=1), cost.argmin(axis=1), indicators.shape[1]).astype(np.int64)


def _leave_both_kinds(indicators: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Gives held-out samples back until the rest has, of every label that the data do, samples with and without."""
    chosen = chosen.copy()
    for label in range(indicators.shape[1]):
        for value in (0, 1):
            has = indicators[:, label] == value
            if has.any() and not (has & ~chosen).any():
                chosen[np.flatnonzero(has)[0]] = False
    return chosen
