"""Episodes of few-shot classification: drawing them and predicting their queries, many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.task import SplitFeatures
from tasks.sampling import id_order

Similarity = Literal["euclidean", "cosine"]
_GATHERED = 1 << 23  # numbers gathered at once: what a block of episodes may take (32 MB in float32)


@dataclass(frozen=True)
class Members:
    """The samples of each class, in ascending order of id.

    Attributes:
        index: (N,) samples, class after class.
        start: (C,) where each class begins in `index`.
        sizes: (C,) how many samples each class has.
    """

    index: np.ndarray
    start: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, split: SplitFeatures, classes: int) -> Members:
        """Lists the members of every class of a split."""
        labels, order = split.targets.cpu().numpy(), id_order(split.ids)
        sizes = np.bincount(labels, minlength=classes)
        return cls(order[np.argsort(labels[order], kind="stable")], np.cumsum(sizes) - sizes, sizes)


@dataclass(frozen=True)
class Episodes:
    """E episodes of W classes.

    Attributes:
        classes: (E, W) class indices.
        support: (E, W, k) samples of train.
        query: (E, W, Q) samples of the reported split.
    """

    classes: np.ndarray
    support: np.ndarray
    query: np.ndarray

    @classmethod
    def draw(
        cls, rng: np.random.Generator, classes: np.ndarray, support: Members, shots: int, query: Members, queries: int
    ) -> Episodes:
        """Draws support and query samples for the classes of each episode, without replacement within an episode."""
        drawn = []
        for members, count in ((support, shots), (query, queries)):
            flat = classes.ravel()
            chosen = cls.choose(rng, members.sizes[flat], count) + members.start[flat][:, None]
            drawn.append(members.index[chosen].reshape(*classes.shape, count))
        return cls(classes, *drawn)

    @staticmethod
    def choose(rng: np.random.Generator, sizes: np.ndarray, count: int) -> np.ndarray:
        """(R, count) different numbers below each of (R,) sizes, every subset as likely as any other.

        Floyd's algorithm (Bentley & Floyd 1987) on all rows at once: its memory does not grow with the sizes.
        """
        chosen = np.full((len(sizes), count), -1, dtype=np.int64)
        for place in range(count):
            last = sizes - count + place
            drawn = rng.integers(0, last + 1)
            taken = (chosen[:, :place] == drawn[:, None]).any(axis=1)
            chosen[:, place] = np.where(taken, last, drawn)
        return chosen


def predict(train: Tensor, test: Tensor, episodes: Episodes, similarity: Similarity) -> np.ndarray:
    """The slot (0..W-1) that each query is given to, (E, W, Q).

    Args:
        train: (N, D) features that support samples come from.
        test: (M, D) features that queries come from.
        episodes: E episodes.
        similarity: nearest prototype by squared Euclidean distance, or by cosine. Prototypes are means of the support
            features as they are.
    """
    count, way, shots = episodes.support.shape
    queries = episodes.query.shape[2]
    block = max(1, _GATHERED // (way * max(shots, queries) * train.shape[1]))
    found = np.empty((count, way, queries), dtype=np.int64)
    for start in range(0, count, block):
        part = slice(start, start + block)
        support = train[torch.from_numpy(episodes.support[part]).to(train.device)]
        query = test[torch.from_numpy(episodes.query[part]).to(test.device)].flatten(1, 2)
        slots = _nearest(support.mean(dim=2), query, similarity)
        found[part] = slots.view(-1, way, queries).cpu().numpy()
    return found


def _nearest(prototypes: Tensor, query: Tensor, similarity: Similarity) -> Tensor:
    """(B, W, D) prototypes and (B, W Q, D) queries to (B, W Q) slots, the first among equals."""
    if similarity == "cosine":
        return (normalize(query, dim=-1) @ normalize(prototypes, dim=-1).transpose(1, 2)).argmax(dim=-1)
    # |q - p|^2 less |q|^2, which is the same for every prototype. Both are taken from the episode's own centre first:
    # with a large mean in common, the products would leave no digits for the difference.
    centre = prototypes.mean(dim=1, keepdim=True)
    prototypes, query = prototypes - centre, query - centre
    distance = prototypes.square().sum(dim=-1)[:, None, :] - 2 * query @ prototypes.transpose(1, 2)
    return distance.argmin(dim=-1)
