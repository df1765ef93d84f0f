"""Nearest class mean: the simplest classifier on features, without any hyper-parameter."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.errors import DataError
from benchmark.protocol import ProtocolSettings
from benchmark.task import Inputs, Predictions, SplitFeatures, Task
from tasks.outputs import reported_rows


class NearestMeanClass(Task):
    """Cosine similarity to the mean of each class's L2-normalised training features."""

    name = "nmc"
    summary = "nearest class mean by cosine similarity; no hyper-parameter"
    protocols: ClassVar = {
        "nmc/cosine": ProtocolSettings(name="nmc/cosine", summary="means of L2-normalised features, cosine similarity")
    }
    stochastic = False

    def predict(self, inputs: Inputs, protocol: ProtocolSettings, seed: int) -> Predictions:
        """Means of the train split, similarities on the reported split.

        Raises:
            DataError: a class has no training image.
        """
        means = class_means(inputs.train, inputs.classes)
        scores = normalize(inputs.test.features, dim=1) @ means.T
        inputs.progress(1, 1, "class means")
        return Predictions(reported_rows(inputs, scores))


def class_means(train: SplitFeatures, classes: tuple[str, ...]) -> Tensor:
    """(C, D) L2-normalised means of each class's L2-normalised features.

    Raises:
        DataError: a class has no training image.
    """
    count = torch.bincount(train.targets, minlength=len(classes))
    if not bool((count > 0).all()):
        absent = [classes[index] for index in (count == 0).nonzero()[:5, 0].tolist()]
        raise DataError("a training image of every class", f"none of {', '.join(absent)}", "leave the class out")
    features = normalize(train.features, dim=1).double()  # sums in float64 do not depend on the order of samples
    sums = torch.zeros(len(classes), features.shape[1], dtype=torch.float64, device=features.device)
    sums.index_add_(0, train.targets, features)
    return normalize(sums / count[:, None], dim=1).float()
