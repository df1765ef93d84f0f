"""Logistic regression is scikit-learn's: objective, coefficients, probabilities, and the chosen penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmark.errors import DataError
from tasks.solvers.logistic import fit, fit_path
from tests.tasks.solvers.worlds import overlapping, spectrum_features


def objective(x: Tensor, y: Tensor, weight: np.ndarray, bias: np.ndarray, lam: float) -> float:
    """Scikit-learn's objective by hand, in float64; one row of `weight` means a binary model."""
    logits = x.double().numpy() @ weight.T + bias
    if len(weight) == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float((log_sum - logits[np.arange(len(y)), y.numpy()]).sum() + lam / 2 * (weight**2).sum())


def peer(x: Tensor, y: Tensor, lam: float, weight: Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's optimum in float64 to all the digits its Newton method gives: (K, D) or (1, D), and the bias."""
    model = LogisticRegression(C=1 / lam, solver="newton-cg", tol=1e-10, max_iter=1000)
    model.fit(x.double().numpy(), y.numpy(), sample_weight=None if weight is None else weight.double().numpy())
    return model.coef_, model.intercept_


def centred(bias: np.ndarray) -> np.ndarray:
    """Biases up to the common shift that changes no probability."""
    return bias - bias.mean()


@pytest.mark.parametrize("lam", [1e-2, 1.0, 30.0, 1e4])
@pytest.mark.parametrize(("n", "dim", "classes"), [(400, 12, 5), (60, 200, 4)])
def test_optimum_is_scikit_learns(lam: float, n: int, dim: int, classes: int) -> None:
    x, y = spectrum_features(n, dim, classes)
    coef, intercept = peer(x, y, lam)
    found = fit(x.double(), y, lam, n_classes=classes, tol=1e-12)
    assert bool(found.converged[0])
    np.testing.assert_allclose(found.weights[0].numpy(), coef, rtol=2e-4, atol=2e-5 * np.abs(coef).max())
    bias = centred(found.biases[0].numpy())
    np.testing.assert_allclose(bias, centred(intercept), rtol=2e-4, atol=1e-5)
    least = objective(x, y, coef, intercept, lam)
    assert float(found.objective[0]) == pytest.approx(least, rel=1e-9)
    mine = objective(x, y, found.weights[0].numpy(), found.biases[0].numpy(), lam)
    assert float(found.objective[0]) == pytest.approx(mine, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_single_and_half_precision_features_reach_the_same_objective(dtype: torch.dtype) -> None:
    x, y = spectrum_features(500, 20, 6)
    x = x.to(dtype)
    lam = 0.3
    least = objective(x.float(), y, *peer(x.float(), y, lam), lam)
    found = fit(x, y, lam, n_classes=6)
    assert found.weights.dtype == torch.float32
    assert float(found.objective[0]) == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("lam", [1e-3, 1.0, 100.0])
def test_two_classes_have_scikit_learns_binary_penalty(lam: float) -> None:
    x, y = spectrum_features(300, 8, 2)
    coef, intercept = peer(x, y, lam)
    found = fit(x.double(), y, lam, n_classes=2, tol=1e-12)
    weight = found.weights[0].numpy()
    np.testing.assert_allclose(weight[1] - weight[0], coef[0], rtol=1e-4, atol=1e-5 * np.abs(coef).max())
    assert float(found.biases[0, 1] - found.biases[0, 0]) == pytest.approx(float(intercept[0]), rel=1e-4, abs=1e-5)
    assert float(found.objective[0]) == pytest.approx(objective(x, y, coef, intercept, lam), rel=1e-9)


def test_rare_classes_and_sample_weights_are_scikit_learns() -> None:
    x, y = spectrum_features(600, 10, 4)
    kept = (y > 0) | (torch.arange(600) % 40 == 0)  # class 0 is rare
    x, y = x[kept], y[kept]
    weight = torch.linspace(0.1, 3.0, len(y), dtype=torch.float64)
    weight[::7] = 0.0
    coef, _ = peer(x, y, 0.5, weight)
    found = fit(x.double(), y, 0.5, n_classes=4, tol=1e-12, sample_weight=weight)
    np.testing.assert_allclose(found.weights[0].numpy(), coef, rtol=2e-4, atol=2e-5 * np.abs(coef).max())


@pytest.mark.parametrize("n", [300, 15])
def test_collinear_and_constant_columns_change_nothing_that_can_be_seen(n: int) -> None:
    x, y = spectrum_features(n, 9, 3)
    mixed = x[:, :4] @ torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    x = torch.cat([x, mixed, torch.ones(n, 1)], dim=1)
    for lam in (1e-4, 1.0):
        least = objective(x, y, *peer(x, y, lam), lam)
        for features in (x, x.double()):
            assert float(fit(features, y, lam, n_classes=3).objective[0]) == pytest.approx(least, rel=2e-6)


def test_features_far_from_zero_and_of_unequal_size_are_solved_as_well() -> None:
    x, y = spectrum_features(400, 8, 3)
    x = x * torch.tensor([1e3, 1.0, 1e-3, 1.0, 50.0, 1.0, 1.0, 0.1]) + 1000.0
    for lam in (1e-2, 10.0):
        shifted = x.double() - x.double().mean(0)  # the bias is free, so a shift changes nothing; but helps the peer
        least = objective(shifted, y, *peer(shifted, y, lam), lam)
        assert float(fit(x, y, lam, n_classes=3).objective[0]) == pytest.approx(least, rel=2e-5)


def test_separable_classes_with_a_vanishing_penalty_are_solved_to_tolerance() -> None:
    x, y = spectrum_features(200, 30, 3, separation=8.0)
    lambdas = [10.0**e for e in range(3, -7, -1)]
    path = fit_path(x, y, lambdas, n_classes=3, tol=1e-5)
    assert bool(path.converged.all())
    assert not bool(path.stopped.any())
    for i in (5, 9):
        reference = fit(x.double(), y, lambdas[i], n_classes=3, tol=1e-10)
        scipy_optimum = objective(x, y, *peer(x, y, lambdas[i]), lambdas[i])
        least = min(float(reference.objective[0]), scipy_optimum)
        assert float(path.objective[i]) <= least * (1 + 1e-4)


def test_indicators_are_fitted_one_versus_rest() -> None:
    x, y = spectrum_features(300, 10, 4)
    targets = torch.nn.functional.one_hot(y, 4)
    targets[:, 1] |= (x[:, 0] > 0.5).long()  # labels that are not exclusive
    path = fit_path(x.double(), targets, [0.1, 5.0], n_classes=4, tol=1e-12)
    for i, lam in enumerate((0.1, 5.0)):
        for c in range(4):
            coef, intercept = peer(x, targets[:, c], lam)
            np.testing.assert_allclose(path.weights[i, c].numpy(), coef[0], rtol=2e-4, atol=2e-5 * np.abs(coef).max())
            assert float(path.biases[i, c]) == pytest.approx(float(intercept[0]), rel=1e-3, abs=1e-4)


def test_reported_gap_is_the_true_one_or_more() -> None:
    x, y = overlapping(1500, 40, 8)
    lambdas = np.logspace(3, -2, 11).tolist()
    path = fit_path(x, y, lambdas, n_classes=8, tol=1e-4)
    assert bool(path.converged.all())
    for i, lam in enumerate(lambdas):
        least = objective(x, y, *peer(x, y, lam), lam)
        assert float(path.objective[i]) / least - 1 <= 2 * max(float(path.gap[i]), 1e-6)


def test_path_in_any_order_any_batch_and_any_block_is_the_same_path() -> None:
    x, y = overlapping(900, 24, 6)
    lambdas = np.logspace(-3, 3, 9).tolist()
    plain = fit_path(x.double(), y, lambdas, n_classes=6, tol=1e-12)
    shuffled = fit_path(x.double(), y, lambdas[::-1], n_classes=6, tol=1e-12)
    batched = fit_path(x.double(), y, lambdas, n_classes=6, tol=1e-12, width=6 * 4, block=6 * 64)
    warm = fit_path(x.double(), y, lambdas, n_classes=6, tol=1e-12, warm_start=plain)
    for weights, found in (
        (shuffled.weights.flip(0), shuffled.objective.flip(0)),
        (batched.weights, batched.objective),
    ):
        torch.testing.assert_close(found, plain.objective, rtol=1e-9, atol=0)
        torch.testing.assert_close(weights, plain.weights, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(warm.objective, plain.objective, rtol=1e-9, atol=0)


def test_same_call_gives_the_same_bits() -> None:
    x, y = overlapping(700, 16, 5)
    one, two = (fit_path(x, y, [1.0, 0.1], n_classes=5) for _ in range(2))
    assert torch.equal(one.weights, two.weights)
    assert torch.equal(one.iterations, two.iterations)


def test_refit_from_a_path_on_part_of_the_data_is_the_optimum_of_all_and_takes_fewer_passes() -> None:
    x, y = overlapping(2000, 30, 8)
    path = fit_path(x[:1800], y[:1800], np.logspace(-4, 4, 17).tolist(), n_classes=8, X_val=x[1800:], y_val=y[1800:])
    lam = float(path.lambdas[path.best])
    cold, warm = fit(x, y, lam, n_classes=8), fit(x, y, lam, n_classes=8, warm_start=path)
    assert float(warm.objective[0]) == pytest.approx(float(cold.objective[0]), rel=1e-6)
    assert float(warm.objective[0]) == pytest.approx(objective(x, y, *peer(x, y, lam), lam), rel=1e-6)
    assert int(warm.iterations[0]) < int(cold.iterations[0])


def test_too_few_passes_are_said_and_not_hidden() -> None:
    x, y = overlapping(800, 30, 6)
    path = fit_path(x, y, [1e-3], n_classes=6, max_iter=2, tol=1e-8)
    assert not bool(path.converged[0])
    assert not bool(path.stopped[0])
    assert int(path.iterations[0]) == 2
    least = objective(x, y, *peer(x, y, 1e-3), 1e-3)
    assert float(path.gap[0]) > 1e-8
    assert float(path.objective[0]) > least
    chosen = fit_path(x, y, [1e-3, 1.0], n_classes=6, max_iter=1, tol=1e-8, X_val=x, y_val=y)
    assert not bool(chosen.converged[chosen.best])


@pytest.mark.parametrize("seed", range(4))
def test_chosen_penalty_is_that_of_an_exhaustive_sweep_by_scikit_learn(seed: int) -> None:
    x, y = overlapping(1600, 30, 8, seed=seed)
    train, held = slice(0, 1000), slice(1000, None)
    lambdas = np.logspace(-6, 5, 23)
    path = fit_path(x[train], y[train], lambdas.tolist(), n_classes=8, X_val=x[held], y_val=y[held])
    model = LogisticRegression(tol=1e-6, max_iter=5000, warm_start=True)
    scores = np.zeros(len(lambdas))
    for i in range(len(lambdas) - 1, -1, -1):
        model.set_params(C=1 / lambdas[i]).fit(x[train].double().numpy(), y[train].numpy())
        scores[i] = 100 * model.score(x[held].double().numpy(), y[held].numpy())
    # Optima that agree to 3e-5 may differ on a sample or two of the 600: the choice may not be worse than that.
    assert scores[path.best] >= scores.max() - 100 * 2 / 600
    solved = (~path.stopped).numpy()
    assert bool((solved | (scores < scores.max() - 1.0)).all())
    # Far from the best the objective is flat: the same optimum to 3e-5 may differ on a handful of samples there.
    near = solved & (scores >= scores.max() - 1.0)
    np.testing.assert_allclose(path.val_score.numpy()[near], scores[near], atol=100 * 2.5 / 600)
    np.testing.assert_allclose(path.val_score.numpy()[solved], scores[solved], atol=1.0)
    exhaustive = fit_path(
        x[train], y[train], lambdas.tolist(), n_classes=8, X_val=x[held], y_val=y[held], prune=False, tol=1e-7
    )
    assert float(exhaustive.val_score[path.best]) >= float(exhaustive.val_score.max()) - 100 * 1.5 / 600
    assert not bool(exhaustive.stopped.any())


def test_hopeless_penalties_are_marked_and_cannot_be_chosen() -> None:
    x, y = overlapping(1600, 60, 10, separation=0.4)
    lambdas = np.logspace(-6, 5, 45).tolist()
    path = fit_path(x[:800], y[:800], lambdas, n_classes=10, X_val=x[800:], y_val=y[800:])
    assert bool(path.stopped[-1])  # 1e5 forgets almost everything
    assert not bool(path.stopped[path.best])
    assert bool(path.converged[~path.stopped].all())
    assert not bool(path.converged[path.stopped].any())
    assert bool(path.weights[path.val_score.isnan()].isnan().all())
    assert float(path.val_score[path.best]) == pytest.approx(
        100 * float((path.logits(x[800:], path.best).argmax(1) == y[800:]).double().mean())
    )


def test_of_equal_scores_the_strongest_penalty_is_chosen() -> None:
    x, y = spectrum_features(200, 10, 3, separation=20.0)
    path = fit_path(x[:100], y[:100], [1e-3, 1e-2, 1e-1], n_classes=3, X_val=x[100:], y_val=y[100:])
    assert path.val_score.tolist() == [100.0, 100.0, 100.0]
    assert path.best == 2


def test_selection_follows_the_score_that_is_asked_for() -> None:
    x, y = overlapping(600, 20, 5)

    def weakest(logits: Tensor, targets: Tensor) -> float:
        return float(logits.std())  # grows as the penalty shrinks

    path = fit_path(x[:400], y[:400], [0.01, 1.0, 100.0], n_classes=5, X_val=x[400:], y_val=y[400:], score=weakest)
    assert path.best == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a["features"].__setitem__((3, 1), torch.nan), "finite features"),
        (lambda a: a["features"].__setitem__((3, 1), torch.inf), "finite features"),
        (lambda a: a["targets"].__setitem__(slice(None), 0), "training sample of every class"),
        (lambda a: a["targets"].__setitem__(0, 7), "classes in 0..2"),
        (lambda a: a["targets"].__setitem__(0, -1), "classes in 0..2"),
        (lambda a: a.update(lambdas=[1.0, 0.0]), "positive, finite penalties"),
        (lambda a: a.update(lambdas=[float("nan")]), "positive, finite penalties"),
        (lambda a: a.update(lambdas=[]), "positive, finite penalties"),
        (lambda a: a.update(targets=a["targets"].float()), "class indices"),
        (lambda a: a.update(targets=torch.full((60, 3), 0.5)), "indicators"),
        (lambda a: a.update(targets=torch.zeros(60, 3)), "with and without every class"),
        (lambda a: a.update(targets=a["targets"][:-1]), "class indices"),
        (lambda a: a.update(sample_weight=-torch.ones(60)), "weights >= 0"),
        (lambda a: a.update(X_val=a["features"]), "X_val with y_val"),
        (lambda a: a.update(X_val=a["features"] * torch.nan, y_val=a["targets"]), "finite held-out features"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(change: Callable[[dict[str, Any]], None], said: str) -> None:
    x, y = overlapping(60, 5, 3)
    arguments: dict[str, Any] = {"features": x.clone(), "targets": y.clone(), "lambdas": [1.0], "n_classes": 3}
    change(arguments)
    with pytest.raises(DataError) as caught:
        fit_path(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(12, 80), dim=st.integers(1, 40), classes=st.integers(2, 5), exponent=st.integers(-4, 4),
    scale=st.sampled_from([1e-3, 1.0, 1e3]), seed=st.integers(0, 10_000),
)  # fmt: skip
def test_gradient_of_the_objective_vanishes_where_it_says_converged(
    n: int, dim: int, classes: int, exponent: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(n, dim, generator=generator, dtype=torch.float64)
    y = torch.arange(n) % classes
    lam = 10.0**exponent
    found = fit(x, y, lam, n_classes=classes, tol=1e-10)
    assert bool(found.converged[0])
    weight, bias = found.weights[0].requires_grad_(), found.biases[0].requires_grad_()
    factor = 2.0 if classes == 2 else 1.0
    loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, y, reduction="sum")
    total = loss + factor * lam / 2 * weight.square().sum()
    total.backward()
    # Twice the gap bounds |gradient|^2 over the largest curvature: lambda plus half the scatter of (x, 1).
    assert weight.grad is not None and bias.grad is not None
    curvature = factor * lam + 0.5 * float(x.square().sum() + n)
    gradient = float(weight.grad.square().sum() + bias.grad.square().sum())
    assert gradient <= 2 * curvature * 1e-8 * float(total.detach())
