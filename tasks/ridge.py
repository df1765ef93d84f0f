"""big_vision's few-shot least squares: closed form, a fixed penalty, a few images per class."""

from __future__ import annotations

import pyarrow as pa
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from benchmark.metrics.columns import join
from benchmark.task import Inputs, Predictions, ProtocolSettings, SplitFeatures
from tasks.outputs import reported_rows
from tasks.sampling import class_ranks, subset
from tasks.solvers.ridge import fit_ridge


class RidgeSettings(ProtocolSettings):
    """The settings of big_vision's `fewshot_lsr` evaluator and its common configuration.

    Attributes:
        shots: images per class.
        draws: random draws, nested over shots.
        penalty: of |W|^2, beside the sum of squared errors; the bias column's weight is under it too.
        bias: the value of the constant column, large so that the penalty hardly touches it.
        epsilon: added to each dimension's standard deviation.
    """

    shots: tuple[int, ...] = (1, 5, 10, 25)
    draws: int = 3
    penalty: float = 2.0**10
    bias: float = 100.0
    epsilon: float = 1e-5


def headline_of_ridge(protocol: RidgeSettings) -> str:
    """Ten shots, as big_vision shows first, or the most there are below."""
    return f"top1@{max((k for k in protocol.shots if k <= 10), default=min(protocol.shots))}shot"


def predict_ridge(inputs: Inputs, protocol: RidgeSettings, seed: int) -> Predictions:
    """Fits every draw of every k and predicts the reported split with each."""
    classes = len(inputs.classes)
    size = torch.bincount(inputs.train.targets, minlength=classes).cpu()
    short = {
        f"{shots}shot": [inputs.classes[index] for index in (size < shots).nonzero()[:, 0].tolist()]
        for shots in protocol.shots
        if bool((size < shots).any())
    }
    tables: dict[int, list[pa.Table]] = {shots: [] for shots in protocol.shots}
    for draw in range(protocol.draws):
        ranks = class_ranks(inputs.train, seed, draw)
        for shots in protocol.shots:
            drawn = subset(inputs.train, ranks < shots)
            scores = _scores(drawn.features, drawn.targets, inputs.test.features, classes, protocol)
            tables[shots].append(reported_rows(inputs, scores, f"{shots}shot", draw))
            done = sum(map(len, tables.values()))
            inputs.progress(done, protocol.draws * len(protocol.shots), f"draw {draw}, {shots}-shot")
    details = {"penalty": protocol.penalty, "classes_with_fewer": short}
    return Predictions(join([table for found in tables.values() for table in found]), details=details)


def _scores(features: Tensor, labels: Tensor, test: Tensor, classes: int, protocol: RidgeSettings) -> Tensor:
    """(M, C) regressions of the targets -1 and 1, on features whitened per dimension by the drawn images."""
    wide = features.double()
    mean = wide.mean(dim=0)
    std = wide.std(dim=0, correction=0) + protocol.epsilon
    targets = 2.0 * torch.nn.functional.one_hot(labels, classes).double() - 1.0
    x = pad((wide - mean) / std, (0, 1), value=protocol.bias)
    weights = fit_ridge(x, targets, torch.tensor([protocol.penalty]))[0]
    return (pad((test.double() - mean) / std, (0, 1), value=protocol.bias) @ weights).float()


def predict_ridge(inputs: Inputs, protocol: RidgeSettings, seed: int) -> Predictions:
    """Fits every draw of every number of shots; a class with fewer images gives all it has, as in big_vision."""
    classes = len(inputs.classes)
    size = torch.bincount(inputs.train.targets, minlength=classes).cpu().numpy()
    ranks = [class_ranks(inputs.train, seed, draw) for draw in range(protocol.draws)]
    tables: list[pa.Table] = []
    details: dict[str, Any] = {"penalty": protocol.penalty}
    for shots in protocol.shots:
        short = [inputs.classes[index] for index in np.flatnonzero(size < shots)]
        details[f"{shots}shot"] = {"classes_with_fewer": short} if short else {}
        for draw, rank in enumerate(ranks):
            scores = _scores(subset(inputs.train, rank < shots), inputs.test.features, classes, protocol)
            tables.append(reported_rows(inputs, scores, f"{shots}shot", draw))
            inputs.progress(len(tables), len(protocol.shots) * protocol.draws, f"{shots}-shot, draw {draw}")
    return Predictions(join(tables), details=details)


def _scores(drawn: SplitFeatures, test: Tensor, classes: int, protocol: RidgeSettings) -> Tensor:
    """(M, C) scores of the reported split: features whitened by the drawn images, targets -1 and 1."""
    mean = drawn.features.mean(dim=0)
    scale = drawn.features.std(dim=0, correction=0) + protocol.epsilon

    def whitened(features: Tensor) -> Tensor:
        return pad((features - mean) / scale, (0, 1), value=protocol.bias)

    targets = 2.0 * one_hot(drawn.targets, classes) - 1.0
    weights = fit_ridge(whitened(drawn.features), targets, torch.tensor([protocol.penalty]))[0]
    return torch.cat([whitened(block).double() @ weights for block in test.split(8192)])
