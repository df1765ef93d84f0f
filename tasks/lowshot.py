"""Low-shot classification: logistic regression on a handful of labelled images per class, over several draws."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.metrics.columns import join
from benchmark.protocol import ProtocolSettings
from benchmark.task import Inputs, Predictions, Task
from tasks.outputs import reported_rows
from tasks.sampling import class_ranks, subset
from tasks.solvers.logistic import fit

_TOL = 1e-5  # relative gap of the objective: by then no prediction changes


class LowShotSettings(ProtocolSettings):
    """The recipe of MSN (Assran et al. 2022), with the draws that this suite seeds itself.

    One image per class leaves nothing to choose a penalty on, so it is fixed. Each feature vector is centred (its own
    mean over dimensions taken off) and scaled to unit norm: one penalty then means the same for every checkpoint.

    Attributes:
        shots: labelled images per class.
        draws: random draws; draws are nested over shots.
        penalty: lambda of sum(cross-entropy) + lambda / 2 |W|^2. MSN's 0.0025 divided by the number of images weighs
            a mean cross-entropy: the same objective. Its classifier has no bias, ours has an unpenalised one.
    """

    shots: tuple[int, ...] = (1, 2, 5, 10)
    draws: int = 5
    penalty: float = 0.0025


class LowShot(Task):
    """Few labelled images per class, mean and spread over draws.

    A class with fewer than k training images gives all it has; `details` lists such classes.
    """

    name = "lowshot"
    summary = "logistic regression on 1, 2, 5, 10 images per class; mean and spread over 5 draws"
    headline = "top1@5shot"
    protocols: ClassVar = {
        "lowshot/logreg": LowShotSettings(name="lowshot/logreg", summary="centred unit-norm features, lambda 0.0025")
    }

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """Five shots, or the most there are below."""
        assert isinstance(protocol, LowShotSettings)
        return f"top1@{max((k for k in protocol.shots if k <= 5), default=min(protocol.shots))}shot"

    def predict(self, inputs: Inputs, protocol: LowShotSettings, seed: int) -> Predictions:
        """Fits every draw of every k and predicts the reported split with each."""
        test = centred_units(inputs.test.features)
        size = torch.bincount(inputs.train.targets, minlength=len(inputs.classes)).cpu().numpy()
        details: dict[str, Any] = {"lambda": protocol.penalty}
        for shots in protocol.shots:
            short = [inputs.classes[index] for index in np.flatnonzero(size < shots)]
            details[f"{shots}shot"] = {"unconverged_draws": [], **({"classes_with_fewer": short} if short else {})}
        tables = []
        for draw in range(protocol.draws):
            ranks = class_ranks(inputs.train, seed, draw)
            for shots in protocol.shots:
                drawn = subset(inputs.train, ranks < shots)
                features = centred_units(drawn.features)
                path = fit(features, drawn.targets, protocol.penalty, n_classes=len(inputs.classes), tol=_TOL)
                if not bool(path.converged[0]):
                    details[f"{shots}shot"]["unconverged_draws"].append(draw)
                logits = path.logits(test, 0)
                tables.append(reported_rows(inputs, logits, f"{shots}shot", draw, logits=True))
                inputs.progress(len(tables), protocol.draws * len(protocol.shots), f"draw {draw}, {shots}-shot")
        order = sorted(range(len(tables)), key=lambda place: place % len(protocol.shots))
        return Predictions(join([tables[place] for place in order]), details=details)


def centred_units(features: Tensor) -> Tensor:
    """(N, D) vectors, each less its own mean over dimensions and divided by its norm."""
    return normalize(features - features.mean(dim=1, keepdim=True), dim=1)
