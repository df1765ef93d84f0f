"""Exact nearest neighbours, and the vote that turns one search into the scores of every k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import faiss
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

Metric = Literal["cosine", "dot", "l2"]
Progress = Callable[[int, int, str], None]

_QUERIES = 1024
"""Queries per block: a block of similarities is (1024, N) float32, 5 GB for ImageNet's 1.28 M images."""
_CELLS = 2**28
"""Similarities per block at most, so that a block takes 1 GiB however many images there are to search."""


def search(
    train: Tensor,
    test: Tensor,
    k: int,
    metric: Metric = "cosine",
    progress: Progress = lambda done, total, what: None,
) -> tuple[Tensor, Tensor]:
    """The k nearest training vectors of every test vector, exactly, best first; equals in order of their index.

    On a GPU faiss's index where faiss-gpu is installed, torch elsewhere; on the CPU faiss.

    Args:
        train: (N, D) float32.
        test: (M, D) float32, on the same device.
        k: 1 to N.
        metric: `cosine` and `dot` rank by similarity, `l2` by squared Euclidean distance.
        progress: called with queries done, queries in all, what.

    Returns:
        (M, k) similarities (`l2`: squared distances) and (M, k) int64 indices.

    Raises:
        ValueError: k out of range, or vectors that do not fit together.
    """
    if not 1 <= k <= len(train):
        raise ValueError(f"k is 1 to {len(train)}, not {k}")
    if train.shape[1:] != test.shape[1:] or train.device != test.device:
        raise ValueError(f"train {tuple(train.shape)} on {train.device}, test {tuple(test.shape)} on {test.device}")
    if metric == "cosine":
        train, test = normalize(train, dim=1), normalize(test, dim=1)
    if train.device.type == "cuda" and not _faiss_on(train.device):
        found = _search_torch(train, test, k, metric, progress)
    else:
        found = _search_faiss(train, test, k, metric, progress)
    return in_order(*found, ascending=metric == "l2")


def _faiss_on(device: torch.device) -> bool:
    """Whether faiss was built for GPUs and sees this one."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > (device.index or 0)


def _search_faiss(train: Tensor, test: Tensor, k: int, metric: Metric, progress: Progress) -> tuple[Tensor, Tensor]:
    index: faiss.Index = faiss.IndexFlatL2(train.shape[1]) if metric == "l2" else faiss.IndexFlatIP(train.shape[1])
    if train.device.type == "cuda":
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), train.device.index or 0, index)
    index.add(train.cpu().numpy())
    values = np.empty((len(test), k), dtype=np.float32)
    indices = np.empty((len(test), k), dtype=np.int64)
    queries = test.cpu().numpy()
    for start in range(0, len(test), _QUERIES):
        part = slice(start, start + _QUERIES)
        values[part], indices[part] = index.search(queries[part], k)
        progress(min(start + _QUERIES, len(test)), len(test), "neighbours")
    return torch.from_numpy(values).to(test.device), torch.from_numpy(indices).to(test.device)


def _search_torch(train: Tensor, test: Tensor, k: int, metric: Metric, progress: Progress) -> tuple[Tensor, Tensor]:
    block = max(1, min(_QUERIES, _CELLS // len(train)))
    squares = train.square().sum(1) if metric == "l2" else None
    values, indices = [], []
    for start in range(0, len(test), block):
        queries = test[start : start + block]
        scores = queries @ train.T
        if squares is not None:
            scores = squares - 2 * scores + queries.square().sum(1, keepdim=True)
        best = scores.topk(k, dim=1, largest=squares is None)
        values.append(best.values)
        indices.append(best.indices)
        progress(min(start + block, len(test)), len(test), "neighbours")
    return torch.cat(values), torch.cat(indices)


def in_order(values: Tensor, indices: Tensor, ascending: bool) -> tuple[Tensor, Tensor]:
    """Sorts each row by value, and by index among equal values: the same order from every implementation."""
    by_index = indices.argsort(dim=1)
    values, indices = values.gather(1, by_index), indices.gather(1, by_index)
    by_value = values.argsort(dim=1, descending=not ascending, stable=True)
    return values.gather(1, by_value), indices.gather(1, by_value)


def vote(weights: Tensor, labels: Tensor, ks: Sequence[int], classes: int) -> list[Tensor]:
    """Class scores from weighted neighbours, for several k at once.

    Args:
        weights: (M, K) weight of each neighbour's vote, best neighbour first.
        labels: (M, K) the neighbours' classes; or (M, K, C) indicators where images have several labels.
        ks: how many neighbours vote, each at most K.
        classes: C.

    Returns:
        (M, C) float64 scores for each of `ks`: the sum of the weights of the first k neighbours of each class.
    """
    if max(ks) > weights.shape[1]:
        raise ValueError(f"{weights.shape[1]} neighbours cannot give k={max(ks)}")
    scores = torch.zeros(len(weights), classes, dtype=torch.float64, device=weights.device)
    done: dict[int, Tensor] = {}
    before = 0
    for k in sorted(set(ks)):  # each k adds its new neighbours to the sums of the one before
        part = weights[:, before:k].double()
        if labels.ndim == 3:
            scores = scores + torch.einsum("mk,mkc->mc", part, labels[:, before:k].double())
        else:
            scores = scores.scatter_add(1, labels[:, before:k], part)
        done[k], before = scores, k
    return [done[k] for k in ks]
