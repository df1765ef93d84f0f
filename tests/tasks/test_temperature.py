"""Temperature scaling finds the optimum that scipy finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from tasks.solvers.temperature import fit_temperature


@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_it_equals_scipys_minimum(scale: float, classes: int) -> None:
    rng = np.random.default_rng(classes)
    truth = rng.normal(size=(3000, classes)) * 2
    probabilities = np.exp(log_softmax(truth, axis=1))
    targets = np.array([rng.choice(classes, p=row) for row in probabilities])
    logits = truth * scale

    def nll(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(3000), targets].mean()

    best = minimize_scalar(nll, bounds=(-8, 8), method="bounded", options={"xatol": 1e-10})
    found = fit_temperature(torch.from_numpy(logits), torch.from_numpy(targets))
    assert found == pytest.approx(np.exp(best.x), rel=1e-4)
    assert found == pytest.approx(scale, rel=0.15)  # the labels were drawn at temperature 1 of the unscaled logits


def test_logits_that_are_all_right_or_all_wrong_stop_at_the_limits() -> None:
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == pytest.approx(1e-4)
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(1e4)


@pytest.mark.parametrize("logits", [torch.empty(0, 3), torch.tensor([[float("nan"), 0.0]])])
def test_logits_without_an_answer_are_refused(logits: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="samples"):
        fit_temperature(logits, torch.zeros(len(logits), dtype=torch.long))
