"""An eigenbasis preconditioner for linear classifiers: exact at zero weights, close to the Hessian everywhere else.

The Hessian of the loss is the sum over samples of (diag(p) - p p') x (x x'). Were p independent of x it would be A x
S, with A the (K, K) mean of the class coupling diag(p) - p p' and S the (D, D) scatter matrix of the features, and it
would be diagonal in the eigenbases of A and S; so would be the Hessian plus lambda I, for every lambda at the price
of one eigendecomposition of S. They are not independent, but that basis remains a good one: the preconditioner takes
the Hessian's true diagonal in it, averaged over a sample of the rows. (The Kronecker form of the average is that of
K-FAC, Martens and Grosse, ICML 2015; the diagonal in its eigenbasis is that of George et al., NeurIPS 2018.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.solvers.objective import Objective

_FLIGHT = 1 << 24  # numbers in flight over the sample's rows


class EigenPreconditioner:
    """The inverse of (diagonal of the Hessian + lambda on weights, 0 on the bias), in the Kronecker eigenbasis.

    Args:
        objective: the loss, with its rows.
        theta: (1, r + 1, K) where the curvature is taken.
        lambdas: (G,) penalties.
    """

    def __init__(self, objective: Objective, theta: Tensor, lambdas: Tensor) -> None:
        rows, weight = objective.design.sample()
        p = torch.addmm(theta[0, -1], rows, theta[0, :-1])
        self.vectors: Tensor | None = None
        if objective.kind == "softmax":
            p = torch.softmax(p, -1)
            coupling = torch.diag(weight @ p) - (p * weight[:, None]).T @ p
            # Moving every class alike changes nothing: that direction has no curvature, and steps never take it.
            lift = coupling.diagonal().mean() / len(coupling)
            self.vectors = torch.linalg.eigh(coupling + lift)[1]
            spread = p @ self.vectors.square() - (p @ self.vectors).square()
        else:
            p = torch.sigmoid(p)
            spread = p * (1 - p)
        spread = spread.clamp_min_(0) * weight[:, None]
        curvature = torch.cat([_squared_product(rows, spread), spread.sum(0)[None]])
        eps = torch.finfo(curvature.dtype).eps
        curvature = curvature.clamp_min(max(eps * float(curvature.max()), 1e6 * torch.finfo(curvature.dtype).tiny))
        penalty = torch.ones_like(curvature)
        penalty[-1] = 0.0
        self.inverse = (curvature + lambdas[:, None, None] * penalty).reciprocal()

    def __call__(self, gradient: Tensor) -> Tensor:
        """The preconditioned gradient, (G, r + 1, K) to (G, r + 1, K)."""
        if self.vectors is None:
            return gradient * self.inverse
        step = ((gradient @ self.vectors) * self.inverse) @ self.vectors.T
        return step - step.mean(-1, keepdim=True)

    def select(self, kept: Tensor) -> None:
        """Keeps the problems whose indices are in `kept`."""
        self.inverse = self.inverse[kept]


def _squared_product(rows: Tensor, spread: Tensor) -> Tensor:
    """rows^2 (n, r) transposed times spread (n, K), without the squares of all rows at once."""
    step = max(1, _FLIGHT // rows.shape[1])
    total = torch.zeros(rows.shape[1], spread.shape[1], dtype=rows.dtype, device=rows.device)
    for block, part in zip(rows.split(step), spread.split(step), strict=True):
        total.addmm_(block.square().T, part)
    return total
