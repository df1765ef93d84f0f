"""The walk along a regularisation path: where to start each penalty, how tightly to solve it, and when to give up.

From strong penalties to weak ones, in batches of neighbours that share each pass over the data. Each batch starts
from its stronger neighbour's solution, with that neighbour's L-BFGS memory, around a preconditioner for which one
eigendecomposition serves all penalties (see `lbfgs` and `preconditioner`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.errors import DataError
from tasks.solvers.lbfgs import InverseHessian, Memory, Outcome, minimise, penalised
from tasks.solvers.newton import refine
from tasks.solvers.objective import Objective
from tasks.solvers.path import HeldOut, Path
from tasks.solvers.preconditioner import EigenPreconditioner

Progress = Callable[[int, int, str], None]

_MEMORY = 40  # pairs; the memory is carried along the path, so that more are of use than within one solve
_WIDTH = {"cpu": 32, "cuda": 1024}  # columns of a matrix product below which one lambda alone wastes the device
_SEPARABLE = 0.5  # d log(objective) / d log(lambda) from which on the classes are taken to be separable
_QUASI = 25  # passes by the quasi-Newton method, after which Newton's takes over
_STRONG = 0.01  # penalty, as a fraction of the largest scatter of the features, below which zero is no good start
_APPROACH = 1e-2  # relative gap on the way to the first penalty
_SCAN = 3e-3  # relative gap at which a penalty shows what it is worth: its score is then within some tenths of a point
_NEAR = 1.5  # points below the best score within which penalties are solved to the caller's tolerance
_FAR = 2.5  # points below the best score from which on weaker penalties are not looked at
_PERFECT = 100.0  # percent
_TREND = 3  # penalties in a row that have to agree on it


class Walk:
    """The state of a walk along the path: where it stands, and what it has found."""

    def __init__(
        self,
        objective: Objective,
        penalties: Tensor,
        max_iter: int,
        held_out: HeldOut | None,
        width: int | None = None,
    ) -> None:
        self.objective, self.max_iter, self.held_out = objective, max_iter, held_out
        design, classes = objective.design, objective.classes
        # Two classes: half the squared distance of W[0] and W[1] is what scikit-learn's single vector pays for.
        self.factor = 2.0 if objective.kind == "softmax" and classes == 2 else 1.0
        self.group = max(1, (width or _WIDTH.get(design.device.type, 32)) // classes)
        self.theta = torch.zeros(1, design.rank + 1, classes, dtype=design.dtype, device=design.device)
        self.theta[0, -1] = _prior(objective)
        self.loss, self.gradient = objective.evaluate(self.theta)
        self.memory = Memory(_MEMORY)
        self.trail: deque[tuple[float, float, Tensor]] = deque(maxlen=2)
        self.share = 0.0  # of the last objective that the penalty makes up
        total, dim = len(penalties), design.features.shape[1]
        nan = torch.full((total,), torch.nan, dtype=torch.float64)
        self.path = Path(
            lambdas=penalties,
            weights=torch.full((total, classes, dim), torch.nan, dtype=design.dtype, device=design.device),
            biases=torch.full((total, classes), torch.nan, dtype=design.dtype, device=design.device),
            objective=nan.clone(), gap=nan.clone(), converged=torch.zeros(total, dtype=torch.bool),
            stopped=torch.ones(total, dtype=torch.bool), iterations=torch.zeros(total, dtype=torch.int64),
            val_score=nan.clone(), design=design,
        )  # fmt: skip

    def jump(self, theta: Tensor) -> None:
        """Moves to parameters (G, r + 1, K), learning the curvature on the way."""
        if self.objective.kind == "softmax":
            theta = theta - theta.mean(-1, keepdim=True)
        loss, gradient = self.objective.evaluate(theta)
        self.memory.push(theta - self.theta, gradient - self.gradient)
        self.theta, self.loss, self.gradient = theta, loss, gradient

    def predict(self, at: list[int]) -> None:
        """Moves to where the last two solutions point, if that is lower, for penalties with indices `at`.

        Weights that separate the classes grow without end as the penalty vanishes, in proportion to -log(lambda),
        while the objective falls almost as lambda does. There a straight line through the last two solutions, in
        log(lambda), is the start that a step from a neighbour cannot be; where the objective falls more slowly the
        neighbour's step is better.
        """
        if len(self.trail) < 2:
            return
        (log_before, objective_before, theta_before), (log_last, objective_last, theta_last) = self.trail
        run = log_before - log_last
        if math.log(objective_before / objective_last) < _SEPARABLE * run:
            return
        lambdas = self.path.lambdas[at].to(self.theta.device)
        reach = ((log_last - lambdas.log()) / run).to(theta_last.dtype)[:, None, None]
        stay = (self.theta, self.loss, self.gradient)
        self.jump(theta_last + reach * (theta_last - theta_before))
        self.path.iterations[at] += 1
        paid = lambdas * self.factor
        lower = penalised(self.theta, self.loss, paid) < penalised(stay[0], stay[1], paid)
        where = lower[:, None, None]
        self.theta = torch.where(where, self.theta, stay[0])
        self.loss = torch.where(lower, self.loss, stay[1])
        self.gradient = torch.where(where, self.gradient, stay[2])

    def start_from(self, path: Path) -> None:
        """Starts at the classifier of `path` whose penalty is nearest to the strongest one here."""
        if path.weights.shape[1:] != self.path.weights.shape[1:]:
            wanted, found = tuple(self.path.weights.shape[1:]), tuple(path.weights.shape[1:])
            raise DataError(f"a path of (K, D) = {wanted} to start from", str(found), "leave out warm_start")
        distance = (path.lambdas.log() - self.path.lambdas.max().log()).abs()
        index = int(distance.masked_fill(path.objective.isnan(), torch.inf).argmin())
        theta = self.objective.design.from_features(path.weights[index, None], path.biases[index, None])
        if not torch.isfinite(theta).all():
            raise DataError("a fitted classifier to start from", "none on that path", "leave out warm_start")
        self.jump(theta)

    def approach(self, lam: float) -> None:
        """Comes down roughly to `lam` from where penalties begin to matter, a decade at a time."""
        station = _STRONG * float(self.objective.design.spectrum.max())
        while station > 3.0 * lam:
            self._minimise(torch.tensor([station], dtype=torch.float64), _APPROACH)
            station /= 10.0

    def _minimise(self, penalties: Tensor, tol: float) -> Outcome:
        """Solves penalties (G,), strongest first, from where the walk stands, and goes to the last."""
        design, count = self.objective.design, len(penalties)
        lambdas = (penalties * self.factor).to(design.device)
        preconditioner = EigenPreconditioner(self.objective, self.theta[-1:], lambdas.to(design.dtype))
        start = (self.theta.expand(count, -1, -1), self.loss.expand(count), self.gradient.expand(count, -1, -1))
        quick = min(self.max_iter, _QUASI)
        outcome = minimise(self.objective.evaluate, start, lambdas, preconditioner, self.memory, tol, quick)
        if tol < _SCAN:
            for i in range(count):
                self._make_sure(outcome, i, lambdas[i, None], tol)
        self.theta, self.loss, self.gradient = outcome.theta[-1:], outcome.loss[-1:], outcome.gradient[-1:]
        self.memory = outcome.memory
        self.share = 1.0 - float(outcome.loss[-1] / outcome.objective[-1])
        self.trail.append((math.log(penalties[-1]), float(outcome.objective[-1]), self.theta))
        return outcome

    def _make_sure(self, outcome: Outcome, i: int, lam: Tensor, tol: float) -> None:
        """Goes on by Newton's method with problem `i` of an outcome if the quasi-Newton one has no say in it.

        That is where it has not converged, and where the penalty is a large part of the objective: the classes are then
        all but separated, since by the envelope theorem that part is d log(objective) / d log(lambda).
        """
        one = outcome.only(i)
        share = 1.0 - float(one.loss / one.objective)
        left = self.max_iter - int(one.iterations)
        if left <= 0 or (bool(one.converged) and share < _SEPARABLE):
            return
        preconditioner = EigenPreconditioner(self.objective, one.theta, lam.to(one.theta.dtype))
        model = InverseHessian(outcome.memory, lam, preconditioner)
        outcome.put(i, refine(self.objective, one, lam, model, tol, left))

    def solve(self, at: list[int], tol: float) -> None:
        """Solves the penalties with indices `at`, strongest first, and records what comes of it."""
        path, design = self.path, self.objective.design
        outcome = self._minimise(path.lambdas[at], tol)
        path.weights[at], path.biases[at] = design.to_features(outcome.theta)
        path.objective[at] = outcome.objective.cpu()
        path.gap[at] = (outcome.gap / outcome.objective).cpu()
        path.converged[at] = outcome.converged.cpu()
        path.iterations[at] += outcome.iterations.cpu()
        if self.held_out is not None:
            for i in at:
                path.val_score[i] = self.held_out.judge(path.weights[i], path.biases[i])

    def run(self, tol: float, prune: bool, cold: bool, progress: Progress) -> Path:
        """Walks the path: all of it to `tol`, or all of it roughly and the neighbourhood of the best to `tol`.

        `cold` says that the walk still stands at zero weights.
        """
        path = self.path
        order = torch.argsort(path.lambdas, descending=True, stable=True).tolist()
        if cold:
            self.approach(float(path.lambdas.max()))
        rough = prune and self.held_out is not None and tol < _SCAN
        for begin in range(0, len(order), self.group):
            at = order[begin : begin + self.group]
            self.predict(at)
            self.solve(at, _SCAN if rough else tol)
            path.stopped[at] = rough
            progress(begin + len(at), len(order), f"lambda {float(path.lambdas[at[-1]]):.1e}")
            if rough and self._hopeless(path.val_score[order[: begin + len(at)]]):
                break
        while rough:
            scores = path.val_score.nan_to_num(-torch.inf)
            near = scores >= scores.max() - self._margin(_NEAR, 1.0)
            todo = [i for i in order if path.stopped[i] and near[i]][: self.group]
            if not todo:
                break
            self.jump(self.objective.design.from_features(path.weights[todo], path.biases[todo]))
            path.iterations[todo] += 1
            self.solve(todo, tol)
            path.stopped[todo] = False
            progress(len(order), len(order), f"refining lambda {float(path.lambdas[todo[-1]]):.1e}")
        path.converged.logical_and_(~path.stopped)
        return path

    def _margin(self, points: float, errors: float) -> float:
        """The larger of some points and some standard errors of an accuracy of one half, in points."""
        assert self.held_out is not None
        return max(points, errors * 50.0 / len(self.held_out.features) ** 0.5)

    def _hopeless(self, scores: Tensor) -> bool:
        """Whether nothing weaker is worth solving, from the scores of the penalties so far, strong to weak.

        A perfect score is not surpassed, and among equals the strongest penalty is chosen. Where the classes are all
        but separated, weaker penalties only come nearer to the widest margin: if the last few brought nothing, the
        next ones will not.
        """
        if bool((scores >= _PERFECT).any()):
            return True
        if len(scores) <= _TREND:
            return False
        if self.share > _SEPARABLE and bool(scores[-_TREND:].max() <= scores[:-_TREND].max()):
            return True
        recent, before = scores[-_TREND:], scores[-_TREND - 1 : -1]
        behind = recent < float(scores.max()) - self._margin(_FAR, 2.0)
        return bool(behind.all() or (behind[-1] and (recent < before).all()))


def _prior(objective: Objective) -> Tensor:
    """The bias (K,) that is best without features: where the Kronecker form of the Hessian is exact."""
    design, targets = objective.design, objective.targets
    weight = torch.ones(len(targets), device=design.device) if design.weights is None else design.weights
    if objective.kind == "softmax":
        mass = torch.zeros(objective.classes, dtype=torch.float64, device=design.device)
        log = mass.index_add_(0, targets, weight.double()).log()
        return (log - log.mean()).to(design.dtype)
    share = weight.double() @ targets.double() / design.total
    return torch.logit(share).to(design.dtype)
