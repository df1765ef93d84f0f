"""Batched L-BFGS whose memory outlives the penalty.

The pairs (s, y) that L-BFGS remembers are split: y = y_loss + lambda s on the penalised part. What is stored does not
depend on lambda, so that the memory gathered at one lambda describes the curvature at the next, where it is read with
the new lambda. On a path from strong to weak penalties the solver therefore starts each lambda with a good model of
its Hessian.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.solvers.preconditioner import EigenPreconditioner

_ARMIJO = 1e-4
# Objectives that are closer than this (relatively) are compared by slope instead: rounded products tell no more.
ROUNDING = {torch.float32: 1e-7, torch.float64: 1e-14}
_WINDOW = 2  # passes over which a decrease is measured, to be compared with that of as many passes before
_SLOWEST = 0.95  # greatest ratio of the two that is extrapolated
_REJECTIONS = 12  # steps in a row that do not lower the objective, before a problem is given up as stalled

Evaluate = Callable[[Tensor], "tuple[Tensor, Tensor]"]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (G,) of two batches (G, ...) of which either may have G = 1."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1))


class Memory:
    """The last pairs (s, y_loss), each (G, r + 1, K), or (1, r + 1, K) for a pair that all problems share."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=size)

    def push(self, step: Tensor, change: Tensor) -> None:
        """Remembers a step and the change of the loss's gradient along it."""
        self.pairs.append((step, change))


class InverseHessian:
    """The model of the inverse Hessian that a memory and a preconditioner make at given penalties (G,)."""

    def __init__(self, memory: Memory, lambdas: Tensor, preconditioner: EigenPreconditioner) -> None:
        self.lambdas, self.preconditioner = lambdas.to(preconditioner.inverse.dtype)[:, None, None], preconditioner
        self.pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=memory.size)
        for step, change in memory.pairs:
            self.push(step, change)

    def push(self, step: Tensor, change: Tensor) -> None:
        """Learns from a step and the change of the loss's gradient along it; a pair without curvature has no effect."""
        y = change + self.lambdas * step
        y[:, -1] = change[:, -1]
        curvature = dot(step, y)
        usable = curvature > torch.finfo(y.dtype).eps * dot(step, step).sqrt() * dot(y, y).sqrt()
        self.pairs.append((step, y, torch.where(usable, curvature.reciprocal(), 0.0)))

    def __call__(self, gradient: Tensor) -> Tensor:
        """The model times (G, r + 1, K): the two-loop recursion around the preconditioner."""
        q = gradient.clone()
        alphas = []
        for s, y, rho in reversed(self.pairs):
            alpha = (rho * dot(s, q))[:, None, None]
            q.addcmul_(y, alpha, value=-1)
            alphas.append(alpha)
        q = self.preconditioner(q)
        for (s, y, rho), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q.addcmul_(s, alpha - (rho * dot(y, q))[:, None, None])
        return q

    def select(self, kept: Tensor) -> None:
        """Keeps the problems whose indices are in `kept`."""
        self.lambdas = self.lambdas[kept]
        self.preconditioner.select(kept)
        chosen = [(s if len(s) == 1 else s[kept], y[kept], rho[kept]) for s, y, rho in self.pairs]
        self.pairs = deque(chosen, self.pairs.maxlen)

    def memory(self, problem: int) -> Memory:
        """What one problem remembers, free of its penalty."""
        memory = Memory(self.pairs.maxlen or 1)
        for s, y, _ in self.pairs:
            step = s if len(s) == 1 else s[problem, None]
            change = y[problem, None] - self.lambdas[problem] * step
            change[:, -1] = y[problem, -1]
            memory.push(step, change)
        return memory


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

    def only(self, i: int) -> Outcome:
        """Problem `i` alone, as a batch of one."""
        return Outcome(
            self.theta[i, None], self.loss[i, None], self.gradient[i, None], self.objective[i, None], self.gap[i, None],
            self.converged[i, None], self.iterations[i, None], self.memory,
        )  # fmt: skip

    def put(self, i: int, one: Outcome) -> None:
        """Replaces problem `i` by a batch of one; the memory becomes that one's."""
        self.theta[i], self.loss[i], self.gradient[i] = one.theta[0], one.loss[0], one.gradient[0]
        self.objective[i], self.gap[i] = one.objective[0], one.gap[0]
        self.converged[i], self.iterations[i] = one.converged[0], one.iterations[0]
        self.memory = one.memory


def penalised(theta: Tensor, loss: Tensor, lambdas: Tensor) -> Tensor:
    """Loss plus penalty (G,), of parameters (G, r + 1, K) whose last row is the bias."""
    return loss + 0.5 * lambdas * theta[:, :-1].double().square().flatten(1).sum(1)


def full_gradient(theta: Tensor, gradient: Tensor, lambdas: Tensor) -> Tensor:
    """The gradient (G, r + 1, K) with that of the penalty."""
    full = gradient.clone()
    full[:, :-1] += lambdas.to(theta.dtype)[:, None, None] * theta[:, :-1]
    return full


def minimise(
    evaluate: Evaluate,
    start: tuple[Tensor, Tensor, Tensor],
    lambdas: Tensor,
    preconditioner: EigenPreconditioner,
    memory: Memory,
    tol: float,
    max_iter: int,
) -> Outcome:
    """Minimises loss + lambda / 2 |weights|^2 for G penalties side by side.

    A problem leaves the batch when its objective is estimated to be within `tol` (relative) of the least one. The
    duality gap, |gradient|^2 / (2 lambda), certifies that; it is far too cautious for weak penalties, and then two
    estimates have to agree: twice the quasi-Newton decrement g' H g / 2, with H the inverse Hessian model, and what is
    still to come if the decrease of the last passes goes on as the geometric series that it looks like. Before the
    first pass at a penalty the model is that of a neighbour, and then a tenth of the tolerance has to be met.

    Args:
        evaluate: loss and gradient of parameters (G', r + 1, K), without the penalty.
        start: parameters (G, r + 1, K), and the loss (G,) and gradient there.
        lambdas: (G,) float64 penalties.
        preconditioner: made for these penalties.
        memory: pairs to start from (they are left alone).
        tol: relative gap.
        max_iter: most passes per problem.
    """
    theta, loss, gradient = start
    objective, full = penalised(theta, loss, lambdas), full_gradient(theta, gradient, lambdas)
    inverse = InverseHessian(memory, lambdas, preconditioner)
    total = len(lambdas)
    final = Outcome(
        theta=theta.clone(),
        loss=loss.clone(),
        gradient=gradient.clone(),
        objective=objective.clone(),
        gap=torch.full_like(objective, torch.inf),
        converged=torch.zeros(total, dtype=torch.bool, device=theta.device),
        iterations=torch.zeros(total, dtype=torch.int64, device=theta.device),
        memory=memory,
    )
    alive = torch.arange(total, device=theta.device)
    rejected = torch.zeros(total, dtype=torch.int64, device=theta.device)
    history = [objective]
    iteration = 0
    while len(alive):
        direction = -inverse(full)
        slope = dot(full, direction).double()
        uphill = slope >= 0
        if uphill.any():  # rounding has spoilt the model: fall back on the preconditioner
            plain = -preconditioner(full)
            direction = torch.where(uphill[:, None, None], plain, direction)
            slope = torch.where(uphill, dot(full, plain).double(), slope)
        certificate = full.double().square().flatten(1).sum(1) / (2 * lambdas)
        free = full[:, -1].abs().amax(-1) > 1e-6 * full.abs().flatten(1).amax(1)  # the bias has no penalty to bound it
        estimate = torch.maximum(slope.abs(), _to_come(history))
        gap = torch.minimum(estimate, torch.where(free, torch.inf, certificate))
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
                final.memory = inverse.memory(len(alive) - 1)
            kept = (~finished).nonzero().squeeze(1)
            if not len(kept):
                break
            alive, lambdas, rejected = alive[kept], lambdas[kept], rejected[kept]
            theta, loss, gradient = theta[kept], loss[kept], gradient[kept]
            objective, full, direction, slope = objective[kept], full[kept], direction[kept], slope[kept]
            inverse.select(kept)
            history = [past[kept] for past in history]
        length = 0.5 ** (rejected - 1).clamp_min(0)
        step = length.to(theta.dtype)[:, None, None] * direction
        trial = theta + step
        trial_loss, trial_gradient = evaluate(trial)
        trial_objective, trial_full = (
            penalised(trial, trial_loss, lambdas),
            full_gradient(trial, trial_gradient, lambdas),
        )
        iteration += 1
        # A rejected trial still tells the curvature along its step, which is what shortens the next one.
        finite = torch.isfinite(trial_objective)
        known = finite[:, None, None]
        inverse.push(torch.where(known, trial - theta, 0.0), torch.where(known, trial_gradient - gradient, 0.0))
        lower = trial_objective <= objective + _ARMIJO * length * slope
        level = (trial_objective - objective).abs() <= ROUNDING[theta.dtype] * objective.abs()
        flatter = dot(trial_full, direction).double().abs() <= 0.9 * slope.abs()
        accepted = finite & (lower | (level & flatter))
        where = accepted[:, None, None]
        theta = torch.where(where, trial, theta)
        gradient = torch.where(where, trial_gradient, gradient)
        full = torch.where(where, trial_full, full)
        loss = torch.where(accepted, trial_loss, loss)
        objective = torch.where(accepted, trial_objective, objective)
        rejected = torch.where(accepted, 0, rejected + 1)
        history = [*history[-2 * _WINDOW :], objective]
    return final


def _to_come(history: list[Tensor]) -> Tensor:
    """How much lower the objective (G,) will get, from its last values, if it goes on falling at the same rate."""
    if len(history) <= 2 * _WINDOW:
        return torch.zeros_like(history[-1])
    earlier, later = history[0] - history[_WINDOW], history[_WINDOW] - history[-1]
    rate = (later / earlier.clamp_min(torch.finfo(later.dtype).tiny)).clamp(0.0, _SLOWEST)
    return (later * rate / (1 - rate)).clamp_min(0.0)
