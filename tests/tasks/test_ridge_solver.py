"""Ridge in closed form equals scikit-learn's for every penalty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from tasks.solvers.ridge import fit_ridge


@pytest.mark.parametrize(("n", "dim"), [(200, 12), (15, 40), (30, 30)])
def test_every_penalty_equals_scikit_learn(n: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, dim)), rng.normal(size=(n, 3))
    x[:, -1] = x[:, 0]  # collinear
    penalties = [1e-3, 1.0, 1024.0]
    found = fit_ridge(torch.from_numpy(x), torch.from_numpy(y), torch.tensor(penalties))
    assert found.shape == (3, dim, 3)
    for weights, penalty in zip(found, penalties, strict=True):
        reference = Ridge(alpha=penalty, fit_intercept=False, solver="svd").fit(x, y).coef_.T
        assert weights.numpy() == pytest.approx(reference, rel=1e-5, abs=1e-8)


def test_a_penalty_or_feature_without_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        fit_ridge(torch.ones(3, 2), torch.ones(3, 1), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="finite"):
        fit_ridge(torch.full((3, 2), torch.nan), torch.ones(3, 1), torch.tensor([1.0]))
