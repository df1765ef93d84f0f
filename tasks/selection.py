"""Choosing a penalty on data held out of train, and what the choice leaves behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmark.errors import NotApplicable
from benchmark.metrics import average_precision
from benchmark.task import Inputs, SplitFeatures
from tasks.sampling import held_out, subset
from tasks.solvers.path import Path

Criterion = Literal["top1", "mean_per_class", "mAP", "mAP@11pt"]


@dataclass(frozen=True)
class Parts:
    """Where a penalty is chosen and what the final model sees.

    Attributes:
        fit: what candidates are fitted on.
        val: what they are judged on.
        everything: what the chosen one is fitted on again.
        how: for `Predictions.selection`: `train-10%` or `val`.
    """

    fit: SplitFeatures
    val: SplitFeatures
    everything: SplitFeatures
    how: str


def parts_of(inputs: Inputs, fraction: float, own_val: bool, seed: int) -> Parts:
    """Holds out a stratified, seeded fraction of train; or takes the dataset's own val split where that is asked for.

    Raises:
        NotApplicable: no class has two images, so that nothing can be held out.
    """
    train = inputs.train
    if own_val and inputs.val is not None:
        return Parts(train, inputs.val, _both(train, inputs.val), "val")
    chosen = held_out(train, fraction, seed)
    if not chosen.any():
        raise NotApplicable(
            f"enough training images to hold out {fraction:.0%}", f"{len(train)}", "use a larger dataset"
        )
    return Parts(subset(train, ~chosen), subset(train, chosen), train, f"train-{fraction:.0%}")


def criterion_score(criterion: Criterion) -> Callable[[Tensor, Tensor], float]:
    """The function (logits (M, C), targets) -> percent by which candidates are judged."""
    return {
        "top1": _top1,
        "mean_per_class": _mean_per_class,
        "mAP": lambda logits, targets: _mean_average_precision(logits, targets, average_precision.interpolated),
        "mAP@11pt": lambda logits, targets: _mean_average_precision(logits, targets, average_precision.eleven_points),
    }[criterion]


def curve(path: Path) -> list[dict[str, Any]]:
    """The selection curve as JSON, from weak to strong penalties.

    `solved` is False for penalties that fell so far behind that they were given up: their score is that of a rough
    solution, or null where they were not looked at.
    """
    rows = sorted(zip(path.lambdas.tolist(), path.val_score.tolist(), (~path.stopped).tolist(), strict=True))
    return [
        {"lambda": penalty, "score": None if math.isnan(score) else round(score, 4), "solved": solved}
        for penalty, score, solved in rows
    ]


@dataclass(frozen=True)
class Standardiser:
    """Takes off the mean of each dimension and divides by its standard deviation; a constant dimension becomes 0."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardiser:
        """The (D,) statistics of (N, D) features, in float64."""
        mean = features.mean(dim=0, dtype=torch.float64)
        variance = torch.stack([((block - mean) ** 2).sum(dim=0) for block in features.split(4096)]).sum(dim=0)
        deviation = (variance / len(features)).sqrt()
        constant = deviation <= 1e-7 * mean.abs()
        return cls(mean, torch.where(constant, torch.inf, deviation).reciprocal())

    def __call__(self, features: Tensor) -> Tensor:
        """(N, D) float32."""
        return torch.cat([((block - self.mean) * self.scale).float() for block in features.split(4096)])


def _both(first: SplitFeatures, second: SplitFeatures) -> SplitFeatures:
    return SplitFeatures(
        torch.cat([first.features, second.features]),
        torch.cat([first.targets, second.targets]),
        pa.concat_arrays([_flat(first.ids), _flat(second.ids)]),
    )


def _flat(ids: pa.Array) -> pa.Array:
    return (ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids).cast(pa.string())


def _top1(logits: Tensor, targets: Tensor) -> float:
    return 100 * float((logits.argmax(dim=1) == targets).double().mean())


def _mean_per_class(logits: Tensor, targets: Tensor) -> float:
    size = torch.bincount(targets, minlength=logits.shape[1]).double()
    hits = torch.bincount(targets[logits.argmax(dim=1) == targets], minlength=logits.shape[1]).double()
    return 100 * float((hits[size > 0] / size[size > 0]).mean())


def _mean_average_precision(
    logits: Tensor,
    targets: Tensor,
    definition: Callable[[average_precision.Curve], average_precision.AveragePrecision],
) -> float:
    scores, positive = logits.double().cpu().numpy(), targets.cpu().numpy() > 0
    judged = np.flatnonzero(positive.any(axis=0))
    values = [definition(average_precision.curve_of(positive[:, c], scores[:, c])).value for c in judged]
    return 100 * float(np.mean(values)) if values else 0.0
