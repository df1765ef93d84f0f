"""big_vision's few-shot least squares: closed form, a fixed penalty, a few images per class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from benchmark.metrics.columns import join
from benchmark.protocol import ProtocolSettings
from benchmark.task import Inputs, Predictions, SplitFeatures
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
    """(M, C) float64 scores of the reported split: features whitened by the drawn images, targets -1 and 1."""
    features = drawn.features.double()
    mean = features.mean(dim=0)
    scale = features.std(dim=0, correction=0) + protocol.epsilon

    def whitened(block: Tensor) -> Tensor:
        return pad((block - mean) / scale, (0, 1), value=protocol.bias)

    targets = 2.0 * one_hot(drawn.targets, classes) - 1.0
    weights = fit_ridge(whitened(features), targets, torch.tensor([protocol.penalty]))[0]
    return torch.cat([whitened(block) @ weights for block in test.split(8192)])
