"""Batched L-BFGS whose memory outlives the penalty.

The pairs (s, y) that L-BFGS remembers are split: y = y_loss + lambda s on the penalised part. What is stored does not
depend on lambda, so that the memory gathered at one lambda describes the curvature at the next, where it is read with the
new lambda. On a path from strong to weak penalties the solver therefore starts each lambda with a good model of its Hessian.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.solvers.preconditioner import EigenPreconditioner

_ARMIJO = 1e-4
_ROUNDING = (
    1e-7  # objectives closer than this (relatively) are compared by slope instead: float32 products tell no more
)
_REJECTIONS = 12  # steps in a row that do not lower the objective, before a problem is given up as stalled

Evaluate = Callable[[Tensor], "tuple[Tensor, Tensor]"]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (G,) of two batches (G, ...) of which either may have G = 1."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1))


class Memory:
    """The last pairs (s, y_loss), each (G, r + 1, K) or (1, r + 1, K) for a pair that all problems share."""

    def __init__(self, size: int) -> None:
        self.pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=size)

    def push(self, step: Tensor, change: Tensor) -> None:
        """Remembers a step and the change of the loss's gradient along it."""
        self.pairs.append((step, change))

    def only(self, problem: int) -> Memory:
        """The memory of one problem, as pairs that any batch can share."""
        memory = Memory(self.pairs.maxlen or 1)
        for s, y in self.pairs:
            memory.push(s if len(s) == 1 else s[problem, None], y if len(y) == 1 else y[problem, None])
        return memory

    def select(self, kept: Tensor) -> None:
        """Keeps the problems whose indices are in `kept`."""
        chosen = [(s if len(s) == 1 else s[kept], y if len(y) == 1 else y[kept]) for s, y in self.pairs]
        self.pairs = deque(chosen, self.pairs.maxlen)

    def apply(self, gradient: Tensor, lambdas: Tensor, inverse: Callable[[Tensor], Tensor]) -> Tensor:
        """The inverse Hessian model times (G, r + 1, K): the two-loop recursion around `inverse`."""
        lam = lambdas.to(gradient.dtype)[:, None, None]
        q = gradient.clone()
        trail = []
        for s, y_loss in reversed(self.pairs):
            y = y_loss + lam * s
            y[:, -1] -= lam[:, 0] * s[:, -1]
            curvature = dot(s, y)
            usable = curvature > torch.finfo(curvature.dtype).eps * dot(s, s).sqrt() * dot(y, y).sqrt()
            rho = torch.where(usable, curvature.reciprocal(), 0.0)
            alpha = rho * dot(s, q)
            q -= alpha[:, None, None] * y
            trail.append((s, y, rho, alpha))
        q = inverse(q)
        for s, y, rho, alpha in reversed(trail):
            q += (alpha - rho * dot(y, q))[:, None, None] * s
        return q


@dataclass
class Outcome:
    """Where G problems ended.

    Attributes:
        theta: (G, r + 1, K) parameters; loss: (G,) float64 without the penalty; gradient: (G, r + 1, K) of that loss.
        objective: (G,) float64, loss plus penalty.
        gap: (G,) float64 estimate of the distance to the least objective, in units of the objective.
        converged: (G,) whether `gap` met the tolerance.
        iterations: (G,) passes over the data that each problem took part in.
        memory: what the last problem of the batch remembers.
    """

    theta: Tensor
    loss: Tensor
    gradient: Tensor
    objective: Tensor
    gap: Tensor
    converged: Tensor
    iterations: Tensor
    memory: Memory


def penalised(theta: Tensor, loss: Tensor, lambdas: Tensor) -> Tensor:
    """Loss plus penalty (G,), of parameters (G, r + 1, K) whose last row is the bias."""
    return loss + 0.5 * lambdas * theta[:, :-1].double().square().flatten(1).sum(1)


def _full(theta: Tensor, gradient: Tensor, lambdas: Tensor) -> Tensor:
    full = gradient.clone()
    full[:, :-1] += lambdas.to(theta.dtype)[:, None, None] * theta[:, :-1]
    return full


def minimise(
    evaluate: Evaluate,
    start: tuple[Tensor, Tensor, Tensor],
    lambdas: Tensor,
    inverse: EigenPreconditioner,
    memory: Memory,
    tol: float,
    max_iter: int,
) -> Outcome:
    """Minimises loss + lambda / 2 |weights|^2 for G penalties side by side.

    A problem leaves the batch when its objective is estimated to be within `tol` (relative) of the least one. Two figures
    bound that distance: |gradient|^2 / (2 lambda), which is the duality gap and a certificate; and twice the quasi-Newton
    decrement g' H g / 2 with H the inverse Hessian model, which is an estimate. The smaller one is taken. Before the first pass
    at a penalty the model is that of a neighbour, and then a tenth of the tolerance has to be met.

    Args:
        evaluate: loss and gradient of parameters (G', r + 1, K), without the penalty.
        start: parameters (G, r + 1, K), and the loss (G,) and gradient there.
        lambdas: (G,) float64 penalties.
        inverse: the preconditioner (it follows the problems that are still in the batch).
        memory: pairs to start from (they are left alone).
        tol: relative gap.
        max_iter: most passes per problem.
    """
    theta, loss, gradient = start
    objective, full = penalised(theta, loss, lambdas), _full(theta, gradient, lambdas)
    inherited, memory = memory, Memory(memory.pairs.maxlen or 1)
    memory.pairs.extend(inherited.pairs)
    total = len(lambdas)
    final = Outcome(
        theta.clone(), loss.clone(), gradient.clone(), objective.clone(), torch.full_like(objective, torch.inf),
        torch.zeros(total, dtype=torch.bool, device=theta.device), torch.zeros(total, dtype=torch.int64, device=theta.device),
        memory,
    )  # fmt: skip
    alive = torch.arange(total, device=theta.device)
    rejected = torch.zeros(total, dtype=torch.int64, device=theta.device)
    iteration = 0
    while len(alive):
        direction = -memory.apply(full, lambdas, inverse)
        slope = dot(full, direction).double()
        uphill = slope >= 0
        if uphill.any():  # rounding has spoilt the model: fall back on the preconditioner
            plain = -inverse(full)
            direction = torch.where(uphill[:, None, None], plain, direction)
            slope = torch.where(uphill, dot(full, plain).double(), slope)
        certificate = full.double().square().flatten(1).sum(1) / (2 * lambdas)
        free = full[:, -1].abs().amax(-1) > 1e-6 * full.abs().flatten(1).amax(1)  # the bias has no penalty to bound it
        gap = torch.minimum(slope.abs(), torch.where(free, torch.inf, certificate))
        converged = gap <= (tol if iteration else 0.1 * tol) * objective
        finished = converged | (rejected >= _REJECTIONS) | (slope == 0)
        if iteration >= max_iter:
            finished = torch.ones_like(finished)
        if finished.any():
            at = alive[finished]
            final.theta[at], final.loss[at], final.gradient[at] = theta[finished], loss[finished], gradient[finished]
            final.objective[at], final.gap[at] = objective[finished], gap[finished]
            final.converged[at], final.iterations[at] = converged[finished], iteration
            if finished[-1] and int(alive[-1]) == total - 1:
                final.memory = memory.only(len(alive) - 1)
            kept = (~finished).nonzero().squeeze(1)
            if not len(kept):
                break
            alive, lambdas, rejected = alive[kept], lambdas[kept], rejected[kept]
            theta, loss, gradient = theta[kept], loss[kept], gradient[kept]
            objective, full, direction, slope = objective[kept], full[kept], direction[kept], slope[kept]
            memory.select(kept)
            inverse.select(kept)
        length = 0.5 ** (rejected - 1).clamp_min(0)
        step = length.to(theta.dtype)[:, None, None] * direction
        trial = theta + step
        trial_loss, trial_gradient = evaluate(trial)
        trial_objective, trial_full = penalised(trial, trial_loss, lambdas), _full(trial, trial_gradient, lambdas)
        iteration += 1
        # A rejected trial still tells the curvature along its step, which is what shortens the next one.
        finite = torch.isfinite(trial_objective)
        change = trial_gradient - gradient
        memory.push(
            torch.where(finite[:, None, None], trial - theta, 0.0), torch.where(finite[:, None, None], change, 0.0)
        )
        lower = trial_objective <= objective + _ARMIJO * length * slope
        level = (trial_objective - objective).abs() <= _ROUNDING * objective.abs()
        flatter = dot(trial_full, direction).double().abs() <= 0.9 * slope.abs()
        accepted = finite & (lower | (level & flatter))
        where = accepted[:, None, None]
        theta, gradient, full = (
            torch.where(where, trial, theta), torch.where(where, trial_gradient, gradient), torch.where(where, trial_full, full),
        )  # fmt: skip
        loss = torch.where(accepted, trial_loss, loss)
        objective = torch.where(accepted, trial_objective, objective)
        rejected = torch.where(accepted, 0, rejected + 1)
    return final
