"""Truncated Newton: for weak penalties on (nearly) separable classes, where a quasi-Newton model is no longer to be
trusted.

There the curvature of a sample falls exponentially as it is fitted better, so that a model made of past steps
describes a Hessian that is gone, and both its steps and its estimate of the distance to the optimum are wrong. The
true Hessian costs a pass over the data for each product with a vector; conjugate gradients, preconditioned by the
quasi-Newton model, need few of them because few samples still have curvature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.solvers.lbfgs import ROUNDING, InverseHessian, Outcome, dot, full_gradient, penalised
from tasks.solvers.objective import Objective

_ARMIJO = 1e-4
_HALVINGS = 20
_TRUNCATION = 0.1  # conjugate gradients stop when their last step adds less than this, over all steps, to the decrease
_CG_STEPS = 250


def refine(
    objective: Objective, start: Outcome, lambdas: Tensor, inverse: InverseHessian, tol: float, passes: int
) -> Outcome:
    """Goes on from `start` until half the squared Newton decrement, doubled for caution, is within `tol` of the
    objective.

    Args:
        objective: the loss.
        start: one problem (G = 1).
        lambdas: (1,) its penalty, float64.
        inverse: the preconditioner of conjugate gradients; learns from the steps taken.
        tol: relative gap.
        passes: most passes over the data.
    """
    theta, loss, gradient = start.theta, start.loss, start.gradient
    value, full = penalised(theta, loss, lambdas), full_gradient(theta, gradient, lambdas)
    gap, used, converged = start.gap, 0, False
    while used < passes:
        direction, products = _direction(objective, theta, full, lambdas, inverse, passes - used)
        used += products
        slope = float(dot(full, direction))
        gap = torch.full_like(value, -slope)
        converged = -slope <= tol * float(value)
        if converged or not slope < 0:
            break
        length, lower = 1.0, False
        for _ in range(_HALVINGS):
            if used >= passes:
                break
            trial = theta + length * direction
            trial_loss, trial_gradient = objective.evaluate(trial)
            used += 1
            trial_value = penalised(trial, trial_loss, lambdas)
            lower = float(trial_value) <= float(value) + _ARMIJO * length * slope
            if lower:
                break
            length /= 2
        if not lower:
            break  # rounding: nothing lower can be told
        inverse.push(trial - theta, trial_gradient - gradient)
        theta, loss, gradient, value = trial, trial_loss, trial_gradient, trial_value
        full = full_gradient(theta, gradient, lambdas)
    return Outcome(
        theta, loss, gradient, value, gap, torch.full_like(start.converged, converged), start.iterations + used,
        inverse.memory(0),
    )  # fmt: skip


def _direction(
    objective: Objective, theta: Tensor, full: Tensor, lambdas: Tensor, inverse: InverseHessian, limit: int
) -> tuple[Tensor, int]:
    """An approximate solution of H d = -gradient, and how many products with H it took."""
    product = objective.hessian(theta)
    lam = lambdas.to(theta.dtype)[:, None, None]
    solution = torch.zeros_like(full)
    residual = -full
    conditioned = inverse(residual)
    search, energy = conditioned, float(dot(residual, conditioned))
    decrease = 0.0
    for step in range(1, min(_CG_STEPS, limit) + 1):
        applied = product(search) + lam * search
        applied[:, -1] -= lam[:, 0] * search[:, -1]
        curvature = float(dot(search, applied))
        if not curvature > ROUNDING[theta.dtype] ** 2 * energy:
            return (solution if step > 1 else conditioned), step
        length = energy / curvature
        solution = solution + length * search
        residual = residual - length * applied
        gained = 0.5 * length * energy
        decrease += gained
        if step * gained <= _TRUNCATION * decrease:
            break
        conditioned = inverse(residual)
        before, energy = energy, float(dot(residual, conditioned))
        if not energy > 0:
            break
        search = conditioned + (energy / before) * search
    return solution, step
