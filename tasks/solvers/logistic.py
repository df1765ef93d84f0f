"""L2-regularised logistic regression for many penalties at once, to scikit-learn's optimum.

The objective is that of `sklearn.linear_model.LogisticRegression` with C = 1 / lambda: the sum over samples of the
cross-entropy plus lambda / 2 times the squared norm of the weights, the bias free. With two classes scikit-learn has
one weight vector w = W[1] - W[0] and penalises |w|^2; the same optimum is reached here in the symmetric form W =
(-w/2, w/2). Targets that are not exclusive are fitted one-vs-rest: a sigmoid and a binary cross-entropy for each
column.

What is solved is solved to `tol`, however many passes that takes; a recipe that stops scikit-learn at a fixed number of
iterations (100, say) names the same optimum and ends somewhere short of it. How the path is walked is in `walk`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.errors import DataError
from tasks.solvers.design import Design, full_precision
from tasks.solvers.objective import Kind, Objective
from tasks.solvers.path import HeldOut, Path, Score, top1
from tasks.solvers.walk import Progress, Walk


def fit_path(
    features: Tensor,
    targets: Tensor,
    lambdas: Sequence[float] | Tensor,
    *,
    n_classes: int,
    X_val: Tensor | None = None,
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

    Pruning, with held-out data. All penalties are first solved roughly (relative gap 3e-3) and scored, from strong to
    weak; once three in a row are behind the best so far by max(2.5 points, 2 standard errors of an accuracy of 1/2
    on the held-out samples), or one is after three falls in a row, the weaker ones are not looked at. Then those
    within max(1.5 points, 1 standard error) of the best are solved to `tol` and scored again, until no unsolved one
    is that near. Only these can be chosen. The others are `stopped`: their objective, gap and score are those of the
    rough solution, or NaN where there is none.

    Args:
        features: (N, D), any floating type; float64 is solved in float64, everything else in float32.
        targets: (N,) int class indices; or (N, K) indicators in {0, 1}, for one-vs-rest.
        lambdas: (L,) positive penalties, in any order.
        n_classes: K.
        X_val: (M, D) held-out features, for `val_score` and pruning.
        y_val: their targets, as `targets`.
        score: (logits (M, K), y_val) to a figure in percent, higher is better; accuracy if None. Needed for indicators.
        tol: relative gap of the objective at which a penalty is solved.
        max_iter: most passes over the data per penalty; one that needs more is returned with `converged` False.
        sample_weight: (N,) non-negative.
        prune: whether hopeless penalties are given up (never without held-out data); False solves every one to `tol`.
        warm_start: a path on nearly the same data, of which the classifier nearest to the strongest penalty is the
            start.
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
        found = "one without the other" if (X_val is None) != (y_val is None) else "no score"
        raise DataError("X_val with y_val, and a score if targets are indicators", found, "pass them all")
    with full_precision(), torch.no_grad():
        design = Design(features, sample_weight, device, basis_of=warm_start.design if warm_start else None)
        objective = Objective(design, targets, n_classes, kind, block)
        held_out = None
        if X_val is not None and y_val is not None:
            held_out = HeldOut(X_val, y_val.to(design.device), score or top1)
        walk = Walk(objective, penalties, max_iter, held_out, width)
        if warm_start is not None:
            walk.start_from(warm_start)
        return walk.run(tol, prune, warm_start is None, progress or (lambda done, total, what: None))


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
    """Fits one penalty, tightly: typically the refit on all data of the one that was chosen on part of them.

    Args:
        features: as for `fit_path`, and so all the others.
        targets: (N,) or (N, K).
        lam: the penalty.
        n_classes: K.
        tol: relative gap of the objective.
        max_iter: most passes over the data.
        sample_weight: (N,).
        warm_start: the path that the penalty was chosen on: saves the eigendecomposition and most of the passes.
        device: where to compute.

    Returns:
        A path of length one.

    Raises:
        DataError: as `fit_path`.
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
