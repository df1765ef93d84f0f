"""What a regularisation path is: linear classifiers for many penalties, how well each is solved, and which is best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark.errors import DataError
from tasks.solvers.design import Design, full_precision

Score = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class Path:
    """Linear classifiers for L penalties, in the order in which these were given.

    Attributes:
        lambdas: (L,) float64.
        weights, biases: (L, K, D) and (L, K); logits are X @ weights[i].T + biases[i]. NaN where never looked at.
        objective: (L,) float64, sum of losses plus penalty.
        gap: (L,) float64, estimated relative distance to the least objective.
        converged: (L,) bool, whether `gap` met the tolerance. False means: not solved, whatever the score says.
        stopped: (L,) bool, penalties given up as hopeless before they were solved (see `fit_path`).
        iterations: (L,) int64 passes over the data.
        val_score: (L,) float64, the score on held-out data in percent; NaN without such data or where never looked at.
    """

    lambdas: Tensor
    weights: Tensor
    biases: Tensor
    objective: Tensor
    gap: Tensor
    converged: Tensor
    stopped: Tensor
    iterations: Tensor
    val_score: Tensor
    design: Design = field(repr=False, compare=False)

    @property
    def best(self) -> int:
        """The index of the highest held-out score of those not stopped; among equals, that of the strongest penalty."""
        scores = self.val_score.masked_fill(self.stopped, torch.nan)
        if bool(scores.isnan().all()):
            raise DataError("a path scored on held-out data", "none", "pass X_val and y_val to fit_path")
        top = scores == scores.nan_to_num(-torch.inf).max()
        return int(torch.where(top, self.lambdas, -torch.inf).argmax())

    def logits(self, features: Tensor, index: int) -> Tensor:
        """(M, K) for features (M, D), with the classifier at `index`."""
        return linear_logits(features, self.weights[index], self.biases[index])


@dataclass(frozen=True)
class HeldOut:
    """Data that penalties are compared on: features (M, D), their targets, and the score, in percent."""

    features: Tensor
    targets: Tensor
    score: Score

    def judge(self, weight: Tensor, bias: Tensor) -> float:
        """The score of one classifier.

        Raises:
            DataError: held-out features are not finite.
        """
        logits = linear_logits(self.features, weight, bias)
        if not bool(torch.isfinite(logits).all()):
            raise DataError("finite held-out features", "NaN or infinite logits", "look at the features of that split")
        return self.score(logits, self.targets)


def linear_logits(features: Tensor, weight: Tensor, bias: Tensor, rows: int = 16384) -> Tensor:
    """Features (M, D) @ weight (K, D).T + bias (K,), converted block by block to the type and device of the weights."""
    with full_precision():
        blocks = [torch.addmm(bias, block.to(weight.device, weight.dtype), weight.T) for block in features.split(rows)]
    return torch.cat(blocks)


def top1(logits: Tensor, targets: Tensor) -> float:
    """Accuracy in percent."""
    return 100.0 * float((logits.argmax(1) == targets.to(logits.device)).double().mean())
