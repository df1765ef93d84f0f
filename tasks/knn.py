"""k nearest neighbours on stored features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pyarrow as pa
import torch
from torch import Tensor

from benchmark.metrics.columns import join
from benchmark.protocol import ProtocolSettings
from benchmark.task import Inputs, Predictions, SplitFeatures, Task
from tasks.outputs import reported_rows
from tasks.solvers.neighbours import Metric, search, vote

_VOTES = 1 << 25  # numbers that a block of votes may take


class KnnSettings(ProtocolSettings):
    """How neighbours are found and how they vote.

    Attributes:
        ks: numbers of neighbours; one search at the largest serves all.
        metric: cosine similarity, inner product of features as they are, or Euclidean distance (`l2`).
        temperature: a neighbour votes exp(similarity / temperature); None for one vote each.
        headline_k: the k of the headline.
    """

    ks: tuple[int, ...]
    metric: Metric = "cosine"
    temperature: float | None = None
    headline_k: int


class Knn(Task):
    """Neighbours from train vote for the class of each reported image; with several labels, for each of theirs.

    k is clamped to the size of train: the figure keeps the name of its nominal k, `details` says what was used. Votes
    are no probabilities (a class without a neighbour would be impossible), so there is no calibration figure. Among
    classes with equal votes the lowest index wins, as in scikit-learn.
    """

    name = "knn"
    summary = "weighted k nearest neighbours, k = 10, 20, 100, 200 from one search"
    headline = "top1@k20"
    protocols: ClassVar = {
        "knn/dino": KnnSettings(
            name="knn/dino",
            ks=(10, 20, 100, 200),
            temperature=0.07,
            headline_k=20,
            summary="cosine, votes exp(similarity / 0.07), headline k = 20",
        ),
        "knn/instdisc": KnnSettings(
            name="knn/instdisc", ks=(200,), temperature=0.1, headline_k=200, summary="cosine, k = 200, temperature 0.1"
        ),
        "knn/vissl": KnnSettings(
            name="knn/vissl",
            ks=(200,),
            metric="dot",
            temperature=0.1,
            headline_k=200,
            summary="inner products of features as they are, k = 200, sigma 0.1",
        ),
        "knn/wmse": KnnSettings(
            name="knn/wmse", ks=(5,), metric="l2", headline_k=5, summary="Euclidean, k = 5, one vote each"
        ),
    }
    multilabel = True
    stochastic = False

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """The protocol's own k."""
        assert isinstance(protocol, KnnSettings)
        return f"{'mAP' if multilabel else 'top1'}@k{protocol.headline_k}"

    def predict(self, inputs: Inputs, protocol: KnnSettings, seed: int) -> Predictions:
        """One search, then the votes of every k."""
        size = len(inputs.train)
        used = {k: min(k, size) for k in protocol.ks}
        similarity, neighbours = search(
            inputs.train.features, inputs.test.features, max(used.values()), protocol.metric, inputs.progress
        )
        weights = vote_weights(similarity, protocol.temperature)
        tables: dict[int, list[pa.Table]] = {k: [] for k in protocol.ks}
        for rows in _blocks(len(inputs.test), max(used.values()) * (len(inputs.classes) if inputs.multilabel else 1)):
            part = replace(inputs, test=_rows(inputs.test, rows))
            labels = inputs.train.targets[neighbours[rows]]
            shares = vote(weights[rows], labels, list(used.values()), len(inputs.classes))
            for (k, count), scores in zip(used.items(), shares, strict=True):
                scores = scores / weights[rows, :count].sum(dim=1, keepdim=True)
                tables[k].append(reported_rows(part, scores, f"k{k}"))
        details = {"train_images": size, "k_used": {f"k{k}": count for k, count in used.items()}}
        return Predictions(join([table for found in tables.values() for table in found]), details=details)


def vote_weights(similarity: Tensor, temperature: float | None) -> Tensor:
    """(M, K) float64 weights of neighbours from their similarities, best first; the best weighs 1.

    exp(s / T) overflows for features that are not normalised. The best similarity of each row is taken off first, which
    scales all votes for an image alike and changes no decision.
    """
    if temperature is None:
        return torch.ones_like(similarity, dtype=torch.float64)
    best_first = similarity.double()
    return ((best_first - best_first[:, :1]) / temperature).exp()


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _VOTES // width)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _rows(split: SplitFeatures, rows: slice) -> SplitFeatures:
    return SplitFeatures(split.features[rows], split.targets[rows], split.ids[rows])
