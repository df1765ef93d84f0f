"""A Kronecker preconditioner for linear classifiers: exact at zero weights, close to the Hessian everywhere else.

The Hessian of the loss is the sum over samples of (diag(p) - p p') x (x x'). Replacing the average of the product by the
product of the averages gives A x S, with A the (K, K) class coupling and S the scatter matrix of the features. In the
eigenbases of A and S it is diagonal, and so is A x S + lambda I, for every lambda at the price of one: S is decomposed once
for all of them. (Böhning's bound, Ann. Inst. Stat. Math. 44, 1992, is the same with A at its largest; the Kronecker form of
the average is that of K-FAC, Martens and Grosse 2015.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.solvers.objective import Objective


class KroneckerPreconditioner:
    """(A x S + lambda P)^-1 with P = 1 on weights and 0 on the bias.

    Args:
        objective: the loss, for its rows' spectrum and its class coupling.
        theta: (G, r + 1, K) where the coupling is taken, or (1, r + 1, K) for all.
        lambdas: (G,) penalties.
    """

    def __init__(self, objective: Objective, theta: Tensor, lambdas: Tensor) -> None:
        design = objective.design
        scale = torch.cat([design.spectrum, design.spectrum.new_tensor([design.total])])
        penalty = torch.ones_like(scale)
        penalty[-1] = 0.0
        coupling = objective.coupling(theta)
        self.vectors: Tensor | None = None
        if objective.kind == "softmax":
            classes = objective.classes
            # Moving every class alike changes nothing: that direction has no curvature, and steps never take it.
            lift = coupling.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] / classes
            values, self.vectors = torch.linalg.eigh(coupling + lift)
        else:
            values = coupling
        eps = torch.finfo(values.dtype).eps
        values = values.clamp_min(eps * values.amax(-1, keepdim=True)).clamp_min(torch.finfo(values.dtype).tiny * 1e6)
        curvature = scale[None, :, None] * values[:, None, :] + lambdas[:, None, None] * penalty[None, :, None]
        self.inverse = curvature.reciprocal()

    def __call__(self, gradient: Tensor) -> Tensor:
        """The preconditioned gradient, (G, r + 1, K) to (G, r + 1, K)."""
        if self.vectors is None:
            return gradient * self.inverse
        rotated = (gradient @ self.vectors) * self.inverse
        step = rotated @ self.vectors.transpose(-1, -2)
        return step - step.mean(-1, keepdim=True)

    def select(self, kept: Tensor) -> None:
        """Keeps the problems whose indices are in `kept`."""
        self.inverse = self.inverse[kept]
        if self.vectors is not None and len(self.vectors) > 1:
            self.vectors = self.vectors[kept]
