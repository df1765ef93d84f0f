"""The regularisation path of logistic regression against scikit-learn's L-BFGS."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tasks.solvers.logistic import fit, fit_path
from tasks.solvers.path import Path, linear_logits, top1
from tests.perf.registry import Row, Setting, benchmark, seconds

GRID = np.logspace(-6, 5, 45)
# The loosest of 1e-3, 5e-4, 2e-4, 1e-4, 5e-5 at which every lambda within a point of the best is within 1e-4 of its
# optimum at the quick size; the notes of a row say what it came to.
PEER_TOLERANCE = 2.5e-5
GAP = 1e-4


@dataclass(frozen=True)
class Data:
    """Standardised features and labels of a training, a selection and a test part."""

    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int


def features(n: int, dim: int, classes: int, separation: float, seed: int = 0) -> Data:
    """Gaussian classes that overlap, with the spectra that real features have.

    Within-class covariance has eigenvalues 1 / i in a random basis; the class means vary along the same directions,
    with standard deviation `separation` times i^-0.35 of the within-class one.
    """
    rng = np.random.default_rng(seed)
    rank = np.arange(1, dim + 1)
    scale = rank**-0.5
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    means = rng.standard_normal((classes, dim)) * scale * rank**-0.35 * separation
    held = max(2000, n // 5)
    y = rng.integers(0, classes, n + 2 * held)
    x = np.empty((len(y), dim), np.float32)
    for part in np.array_split(np.arange(len(y)), max(1, len(y) // 5000)):
        x[part] = (rng.standard_normal((len(part), dim)) * scale + means[y[part]]) @ basis.T
    x = (x - x[:n].mean(0)) / x[:n].std(0)
    parts = [slice(0, n), slice(n, n + held), slice(n + held, None)]
    pairs = [(torch.from_numpy(x[part]), torch.from_numpy(y[part])) for part in parts]
    return Data(pairs[0], pairs[1], pairs[2], classes)


def objective(data: tuple[Tensor, Tensor], classifier: tuple[Tensor, Tensor], lam: float) -> float:
    """Sum of cross-entropies plus lambda / 2 |W|^2 of one classifier, in float64 from the logits on."""
    (x, y), (weight, bias) = data, classifier
    logits = linear_logits(x, weight, bias)
    loss = sum(
        float(torch.nn.functional.cross_entropy(block.double(), target, reduction="sum"))
        for block, target in zip(logits.split(8192), y.to(weight.device).split(8192), strict=True)
    )
    return loss + lam / 2 * float(weight.double().square().sum())


def peer_path(data: Data, tolerance: float) -> list[tuple[Tensor, Tensor]]:
    """scikit-learn's classifiers for `GRID`, each started at the optimum of the next stronger penalty."""
    x, y = (part.numpy() for part in data.train)
    model = LogisticRegression(tol=tolerance, max_iter=10_000, warm_start=True)
    fitted: list[tuple[Tensor, Tensor]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # float32 line searches that can go no lower
        for lam in GRID[::-1]:
            model.set_params(C=1.0 / lam).fit(x, y)
            weight, bias = model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
            fitted.append((torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())))
    return fitted[::-1]


def _reference(train: tuple[Tensor, Tensor], data: Data, path: Path, near: list[int]) -> dict[int, float]:
    """The least objective of each penalty in `near`: ours again, two orders of magnitude tighter."""
    found = {}
    for i in near:
        tight = fit(*train, float(GRID[i]), n_classes=data.classes, tol=3e-7, warm_start=path)
        found[i] = objective(train, (tight.weights[0], tight.biases[0]), float(GRID[i]))
    return found


@benchmark("logreg")
def logreg(setting: Setting) -> Iterator[Row]:
    """45 penalties, 50,000 x 768 features, 100 classes."""
    data = features(8000, 192, 40, 0.9) if setting.quick else features(50_000, 768, 100, 0.7)
    train = (data.train[0].to(setting.device), data.train[1].to(setting.device))
    val = (data.val[0].to(setting.device), data.val[1].to(setting.device))

    def ours() -> Path:
        return fit_path(*train, GRID.tolist(), n_classes=data.classes, X_val=val[0], y_val=val[1])

    if setting.device.type == "cuda":
        fit_path(train[0][:2000], train[1][:2000], GRID[-3:].tolist(), n_classes=data.classes)  # start the libraries
    ours_s, path = seconds(ours, setting)
    peer_s, peer = seconds(lambda: peer_path(data, PEER_TOLERANCE), setting)

    peer_score = [top1(linear_logits(data.val[0], *classifier), data.val[1]) for classifier in peer]
    peer_best = max(range(len(GRID)), key=lambda i: (peer_score[i], GRID[i]))
    near = [i for i in range(len(GRID)) if peer_score[i] >= peer_score[peer_best] - 1.0]
    least = _reference(train, data, path, near)
    our_gap, peer_gap = 0.0, 0.0
    for i in near:
        if bool(path.stopped[i]):
            our_gap = float("inf")
            continue
        mine = objective(train, (path.weights[i], path.biases[i]), float(GRID[i]))
        theirs = objective(data.train, peer[i], float(GRID[i]))
        floor = min(least[i], mine, theirs)
        our_gap, peer_gap = max(our_gap, mine / floor - 1), max(peer_gap, theirs / floor - 1)
    our_test = top1(path.logits(data.test[0], path.best), data.test[1])
    peer_test = top1(linear_logits(data.test[0], *peer[peer_best]), data.test[1])
    sound = our_gap < GAP and bool(path.converged[near].all()) and abs(our_test - peer_test) <= 0.1
    yield Row.faster(
        "logreg/sweep, 45 lambdas, against scikit-learn L-BFGS", ours_s, peer_s, 8.0, sound,
        shape=f"{len(train[0])} x {train[0].shape[1]}, {data.classes} classes", near=len(near), our_gap=our_gap,
        peer_gap=peer_gap, our_lambda=float(GRID[path.best]), peer_lambda=float(GRID[peer_best]), our_test=our_test,
        peer_test=peer_test, passes=int(path.iterations.sum()), stopped=int(path.stopped.sum()),
    )  # fmt: skip
