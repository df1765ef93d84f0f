"""L2-regularised logistic regression for many penalties at once, to scikit-learn's optimum.

The objective is that of `sklearn.linear_model.LogisticRegression` with C = 1 / lambda: the sum over samples of the
cross-entropy plus lambda / 2 times the squared norm of the weights, the bias free. With two classes scikit-learn has one
weight vector w = W[1] - W[0] and penalises |w|^2; the same optimum is reached here in the symmetric form W = (-w/2, w/2).
Targets that are not exclusive are fitted one-vs-rest: a sigmoid and a binary cross-entropy for each column.

How the path is walked: from strong penalties to weak ones, in batches of neighbours that share each pass over the data.
Each batch starts from its stronger neighbour's optimum, with that neighbour's L-BFGS memory, around a Kronecker
preconditioner for which one eigendecomposition serves all penalties (see `lbfgs` and `preconditioner`). What is solved is
solved to `tol`; a solver that is stopped at a fixed number of iterations instead, as some published recipes are, ends
somewhere short of this optimum.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark.errors import DataError
from tasks.solvers.design import Design, full_precision
from tasks.solvers.lbfgs import Memory, minimise, penalised
from tasks.solvers.objective import Kind, Objective
from tasks.solvers.preconditioner import EigenPreconditioner

Score = Callable[[Tensor, Tensor], float]
Progress = Callable[[int, int, str], None]

_MEMORY = 40  # pairs; the memory is carried along the path, so that more are of use than within one solve
_WIDTH = {"cpu": 32, "cuda": 1024}  # columns of a matrix product below which one lambda alone wastes the device
_SEPARABLE = 0.6  # d log(objective) / d log(lambda) from which on the classes are taken to be separable
_SCAN = 3e-3  # relative gap at which a penalty shows what it is worth: its score is then within some tenths of a point
_NEAR = 1.5  # points below the best score within which penalties are solved to the caller's tolerance
_FALLS = 3  # penalties in a row, each scored below its stronger neighbour, that make a trend
_FAR = 2.5  # points below the best score from which on, while it keeps falling, weaker penalties are not looked at


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
        """The index of the highest held-out score, of those not stopped; of equal scores, that of the strongest penalty."""
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


def linear_logits(features: Tensor, weight: Tensor, bias: Tensor, rows: int = 16384) -> Tensor:
    """features (M, D) @ weight (K, D).T + bias (K,), converted block by block to the type and device of the weights."""
    with full_precision():
        blocks = [torch.addmm(bias, block.to(weight.device, weight.dtype), weight.T) for block in features.split(rows)]
    return torch.cat(blocks)


def top1(logits: Tensor, targets: Tensor) -> float:
    """Accuracy in percent."""
    return 100.0 * float((logits.argmax(1) == targets.to(logits.device)).double().mean())


def fit_path(
    features: Tensor,
    targets: Tensor,
    lambdas: Sequence[float] | Tensor,
    *,
    n_classes: int,
    X_val: Tensor | None = None,  # noqa: N803
    y_val: Tensor | None = None,
    score: Score | None = None,
    tol: float = 3e-5,
    max_iter: int = 1000,
    sample_weight: Tensor | None = None,
    prune: bool = True,
    warm_start: Path | None = None,
    device: torch.device | None = None,
    block: int | None = None,
    width: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fits a linear classifier for every penalty.

    Pruning, with held-out data. All penalties are first solved roughly (relative gap 3e-3) and scored, from strong to weak;
    once the score has fallen three times in a row and is behind the best so far by max(2.5 points, 4 standard errors of an
    accuracy of 1/2 on the held-out samples), the weaker ones are not looked at. Then those within max(1.5 points, 2 standard
    errors) of the best are solved to `tol` and scored again, until no unsolved one is that near. Only these can be chosen.
    The others are `stopped`: their objective, gap and score are those of the rough solution, or NaN where there is none.

    Args:
        features: (N, D), any floating type; float64 is solved in float64, everything else in float32.
        targets: (N,) int class indices; or (N, K) indicators in {0, 1}, for one-vs-rest.
        lambdas: (L,) positive penalties, in any order.
        n_classes: K.
        X_val, y_val: held-out features (M, D) and targets, for `val_score` and pruning.
        score: (logits (M, K), y_val) to a figure in percent, higher is better; accuracy if None. Needed for indicators.
        tol: relative gap of the objective at which a penalty is solved.
        max_iter: most passes over the data per penalty; one that needs more is returned with `converged` False.
        sample_weight: (N,) non-negative.
        prune: whether hopeless penalties are given up (never without held-out data); False solves every one to `tol`.
        warm_start: a path on nearly the same data, of which the classifier nearest to the strongest penalty is the start.
        device: where to compute; None for where the features are.
        block: logits in flight; None for a size that suits the device.
        width: least number of columns of a matrix product; decides how many penalties are solved side by side.
        progress: called with (solved, L, text).

    Raises:
        DataError: features are not finite; targets do not fit; a class has no sample; a penalty is not positive.
    """
    kind = _check_targets(features, targets, n_classes, sample_weight)
    penalties = torch.as_tensor(lambdas, dtype=torch.float64).flatten()
    if not len(penalties) or not bool((torch.isfinite(penalties) & (penalties > 0)).all()):
        raise DataError("positive, finite penalties", str(penalties.tolist()), "give lambda = 1 / C > 0")
    if (X_val is None) != (y_val is None) or (X_val is not None and kind == "sigmoid" and score is None):
        raise DataError(
            "X_val with y_val, and a score if targets are indicators", "one without the other", "pass both, with score=",
        )  # fmt: skip
    with full_precision(), torch.no_grad():
        design = Design(features, sample_weight, device, basis_of=warm_start.design if warm_start else None)
        objective = Objective(design, targets, n_classes, kind, block)
        held_out = None if X_val is None or y_val is None else HeldOut(X_val, y_val, score or top1)
        walk = _Walk(objective, penalties, max_iter, width or _WIDTH.get(design.device.type, 32), held_out)
        if warm_start is not None:
            walk.start_from(warm_start)
        return walk.run(tol, prune, progress or (lambda done, total, what: None))


def fit(
    features: Tensor,
    targets: Tensor,
    lam: float,
    *,
    n_classes: int,
    tol: float = 1e-7,
    max_iter: int = 1000,
    sample_weight: Tensor | None = None,
    warm_start: Path | None = None,
    device: torch.device | None = None,
) -> Path:
    """Fits one penalty, tightly: `fit_path` for a single lambda, typically the refit on all data of the chosen one.

    Args: as for `fit_path`; the result is a path of length one.
    """
    return fit_path(
        features, targets, [lam], n_classes=n_classes, tol=tol, max_iter=max_iter, sample_weight=sample_weight,
        warm_start=warm_start, device=device,
    )  # fmt: skip


def _check_targets(features: Tensor, targets: Tensor, n_classes: int, sample_weight: Tensor | None) -> Kind:
    n = len(features)
    kind: Kind
    if sample_weight is not None and (
        sample_weight.shape != (n,) or not bool((torch.isfinite(sample_weight) & (sample_weight >= 0)).all())
    ):
        raise DataError(f"{n} finite weights >= 0", f"{tuple(sample_weight.shape)}", "weight every sample")
    weight = torch.ones(n, device=targets.device) if sample_weight is None else sample_weight.to(targets.device)
    if targets.ndim == 1 and len(targets) == n and not targets.is_floating_point():
        kind = "softmax"
        if n_classes < 2 or bool(((targets < 0) | (targets >= n_classes)).any()):
            low, high = (int(targets.min()), int(targets.max())) if n else (0, 0)
            raise DataError(f"classes in 0..{n_classes - 1}, two or more", f"{low}..{high}", "check the labels")
        mass = torch.zeros(n_classes, device=targets.device).index_add_(0, targets.long(), weight.float())
        missing = (mass <= 0).nonzero().flatten().tolist()
    elif targets.shape == (n, n_classes):
        kind = "sigmoid"
        if not bool(((targets == 0) | (targets == 1)).all()):
            raise DataError("indicators in {0, 1}", "other values", "check the labels")
        present = weight.float() @ targets.float()
        missing = ((present <= 0) | (present >= weight.float().sum())).nonzero().flatten().tolist()
    else:
        found = f"{tuple(targets.shape)} of {targets.dtype} for {n} samples"
        raise DataError(f"({n},) class indices or ({n}, {n_classes}) indicators", found, "check the labels")
    if missing:
        what = "a training sample of every class" if kind == "softmax" else "samples with and without every class"
        raise DataError(what, f"none for {missing[:8]}", "leave the classes out, or hold out less")
    return kind


class _Walk:
    """The state of a walk along the path: where it stands, and what it has found."""

    def __init__(
        self, objective: Objective, penalties: Tensor, max_iter: int, width: int, held_out: HeldOut | None
    ) -> None:
        self.objective, self.max_iter, self.held_out = objective, max_iter, held_out
        design, classes = objective.design, objective.classes
        # Two classes: half the squared distance of W[0] and W[1] is what scikit-learn's single vector pays for.
        self.factor = 2.0 if objective.kind == "softmax" and classes == 2 else 1.0
        self.group = max(1, width // classes)
        self.theta = torch.zeros(1, design.rank + 1, classes, dtype=design.dtype, device=design.device)
        self.theta[0, -1] = _prior(objective)
        self.loss, self.gradient = objective.evaluate(self.theta)
        self.memory = Memory(_MEMORY)
        self.trail: deque[tuple[float, float, Tensor]] = deque(maxlen=2)
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

        Weights that separate the classes grow without end as the penalty vanishes, in proportion to -log(lambda), while the
        objective falls almost as lambda does. There a straight line through the last two solutions, in log(lambda), is the
        start that a step from a neighbour cannot be; where the objective falls more slowly the neighbour's step is better.
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
        lower = penalised(self.theta, self.loss, lambdas) < penalised(stay[0], stay[1], lambdas)
        where = lower[:, None, None]
        self.theta = torch.where(where, self.theta, stay[0])
        self.loss = torch.where(lower, self.loss, stay[1])
        self.gradient = torch.where(where, self.gradient, stay[2])

    def start_from(self, path: Path) -> None:
        """Starts at the classifier of `path` whose penalty is nearest to the strongest one here."""
        distance = (path.lambdas.log() - self.path.lambdas.max().log()).abs()
        index = int(distance.masked_fill(path.objective.isnan(), torch.inf).argmin())
        theta = self.objective.design.from_features(path.weights[index, None], path.biases[index, None])
        if not torch.isfinite(theta).all():
            raise DataError("a fitted classifier to start from", "none on that path", "leave out warm_start")
        self.jump(theta)

    def solve(self, at: list[int], tol: float) -> None:
        """Solves the penalties with indices `at`, strongest first, from where the walk stands, and goes to the last."""
        path, design = self.path, self.objective.design
        lambdas = (path.lambdas[at] * self.factor).to(design.device)
        inverse = EigenPreconditioner(self.objective, self.theta[-1:], lambdas.to(design.dtype))
        count = len(at)
        start = (self.theta.expand(count, -1, -1), self.loss.expand(count), self.gradient.expand(count, -1, -1))
        outcome = minimise(self.objective.evaluate, start, lambdas, inverse, self.memory, tol, self.max_iter)
        self.theta, self.loss, self.gradient = outcome.theta[-1:], outcome.loss[-1:], outcome.gradient[-1:]
        self.memory = outcome.memory
        self.trail.append((math.log(path.lambdas[at[-1]]), float(outcome.objective[-1]), self.theta))
        path.weights[at], path.biases[at] = design.to_features(outcome.theta)
        path.objective[at] = outcome.objective.cpu()
        path.gap[at] = (outcome.gap / outcome.objective).cpu()
        path.converged[at] = outcome.converged.cpu()
        path.iterations[at] += outcome.iterations.cpu()
        if self.held_out is not None:
            for i in at:
                path.val_score[i] = self.held_out.score(path.logits(self.held_out.features, i), self.held_out.targets)

    def run(self, tol: float, prune: bool, progress: Progress) -> Path:
        """Walks the path: all of it to `tol`, or all of it roughly and the neighbourhood of the best to `tol`."""
        path = self.path
        order = torch.argsort(path.lambdas, descending=True, stable=True).tolist()
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
            near = scores >= scores.max() - self._margin(_NEAR, 2.0)
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
        """Whether nothing weaker is worth solving, from the scores of the penalties so far, strong to weak."""
        if len(scores) <= _FALLS:
            return False
        falling = bool((scores[-_FALLS:] < scores[-_FALLS - 1 : -1]).all())
        return falling and float(scores[-1]) < float(scores.max()) - self._margin(_FAR, 4.0)


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
