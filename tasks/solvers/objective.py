"""The loss of linear classifiers on many parameter vectors at once, in one pass over the rows.

Every problem of a batch sees the same rows, so that G problems of K classes cost one matrix product of width G K.
Sums over samples are accumulated in float64: line searches compare objectives that agree to seven digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from tasks.solvers.design import Design

Kind = Literal["softmax", "sigmoid"]
_KEPT = 1 << 25  # probabilities that are kept for products with the Hessian
_BLOCK = {"cpu": 1 << 18, "cuda": 1 << 26}  # logits in flight: what a core's cache holds; what keeps a GPU busy


def softmax_loss_(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (n, G) of logits (n, G, K) for classes (n,); the logits become its gradient.

    Written so that a sample that is already right keeps a loss and a gradient with full relative precision: with p the
    mass on wrong classes, log1p(p) and -p rather than the difference of two numbers near one.
    """
    index = targets.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
    logits -= logits.amax(-1, keepdim=True)
    own = logits.gather(-1, index)
    logits.exp_().scatter_(-1, index, 0.0)
    rest = logits.sum(-1, keepdim=True)
    total = rest + own.exp()
    loss = torch.where(own == 0, torch.log1p(rest), total.log() - own)
    logits /= total
    logits.scatter_(-1, index, -rest / total)
    return loss.squeeze(-1)


def sigmoid_loss_(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy summed over classes (n, G), of logits (n, G, K) for indicators (n, K); in place too."""
    sign = (1 - 2 * targets).unsqueeze(1)
    logits *= sign
    loss = torch.nn.functional.softplus(logits, threshold=80).sum(-1)
    logits.sigmoid_().mul_(sign)
    return loss


class Objective:
    """Sum over samples of the weighted loss, without the penalty.

    Args:
        design: the rows.
        targets: (N,) class indices for `softmax`, (N, K) indicators for `sigmoid`.
        classes: K.
        kind: the loss.
        block: logits in flight; None takes a size that suits the device. The result does not depend on it beyond
            rounding.
    """

    def __init__(self, design: Design, targets: Tensor, classes: int, kind: Kind, block: int | None = None) -> None:
        self.design, self.classes, self.kind = design, classes, kind
        self.targets = targets.to(design.device, torch.int64 if kind == "softmax" else design.dtype)
        self.block = block or _BLOCK.get(design.device.type, 1 << 24)
        self.passes = 0

    def evaluate(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (G,) in float64 and gradient (G, r + 1, K) at parameters (G, r + 1, K)."""
        self.passes += 1
        groups = theta.shape[0]
        weight, offset = self.design.expand(theta)
        loss = torch.zeros(groups, dtype=torch.float64, device=theta.device)
        product = torch.zeros(weight.shape, dtype=torch.float64, device=theta.device)
        sums = torch.zeros(weight.shape[1], dtype=torch.float64, device=theta.device)
        for start, stop, rows in self.design.blocks(self._rows(groups)):
            logits = torch.addmm(offset, rows, weight).view(stop - start, groups, self.classes)
            per_sample = self._loss_(logits, self.targets[start:stop])
            if self.design.weights is not None:
                scale = self.design.weights[start:stop]
                per_sample = per_sample * scale[:, None]
                logits *= scale[:, None, None]
            loss += per_sample.sum(0, dtype=torch.float64)
            flat = logits.view(stop - start, -1)
            sums += flat.sum(0)
            product += rows.T @ flat
        return loss, self.design.collect(product.to(theta.dtype), sums.to(theta.dtype), groups)

    def hessian(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """The product of the loss's Hessian at parameters (1, r + 1, K) with a direction of that shape.

        Each product is a pass over the data; probabilities are kept between them where there is room.
        """
        rows_at_once = self._rows(1)
        weight, offset = self.design.expand(theta)
        keep = len(self.design) * self.classes <= _KEPT
        kept: dict[int, Tensor] = {}

        def probabilities(start: int, rows: Tensor) -> Tensor:
            if start in kept:
                return kept[start]
            logits = torch.addmm(offset, rows, weight)
            p = torch.softmax(logits, -1) if self.kind == "softmax" else torch.sigmoid(logits)
            if keep:
                kept[start] = p
            return p

        def product(direction: Tensor) -> Tensor:
            self.passes += 1
            along, shift = self.design.expand(direction)
            total = torch.zeros(along.shape, dtype=torch.float64, device=theta.device)
            sums = torch.zeros(along.shape[1], dtype=torch.float64, device=theta.device)
            for start, stop, rows in self.design.blocks(rows_at_once):
                p = probabilities(start, rows)
                change = torch.addmm(shift, rows, along)
                if self.kind == "softmax":
                    change = p * (change - (p * change).sum(-1, keepdim=True))
                else:
                    change = p * (1 - p) * change
                if self.design.weights is not None:
                    change *= self.design.weights[start:stop, None]
                sums += change.sum(0)
                total += rows.T @ change
            return self.design.collect(total.to(theta.dtype), sums.to(theta.dtype), 1)

        return product

    def _rows(self, groups: int) -> int:
        return max(64, self.block // (groups * self.classes))

    def _loss_(self, logits: Tensor, targets: Tensor) -> Tensor:
        return softmax_loss_(logits, targets) if self.kind == "softmax" else sigmoid_loss_(logits, targets)
