"""Ridge regression in closed form: one eigendecomposition gives the weights of every penalty."""

from __future__ import annotations

import torch
from torch import Tensor


def fit_ridge(features: Tensor, targets: Tensor, penalties: Tensor) -> Tensor:
    """The W that minimises |X W - Y|^2 + penalty |W|^2, for several penalties at once.

    With X'X = Q diag(e) Q' the weights are Q diag(1 / (e + penalty)) Q' X'Y: only the diagonal depends on the penalty.
    Where there are fewer samples than dimensions the smaller X X' is decomposed instead, since
    W = X' (X X' + penalty)^-1 Y. Nothing is centred: give a constant column where a bias is wanted.

    Args:
        features: (N, D).
        targets: (N, C), real numbers.
        penalties: (L,), positive.

    Returns:
        (L, D, C) float64 on the device of the features.

    Raises:
        ValueError: a penalty that is not positive, or inputs that are not finite.
    """
    if not bool((penalties > 0).all()):
        raise ValueError(f"penalties are positive, not {penalties.tolist()}")
    x, y = features.double(), targets.double()
    if not (bool(torch.isfinite(x).all()) and bool(torch.isfinite(y).all())):
        raise ValueError("features and targets are finite numbers")
    wide = x.shape[0] < x.shape[1]
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    values = values.clamp_min(0)  # rounding leaves tiny negative ones where the rank is not full
    rotated = vectors.T @ (y if wide else x.T @ y)
    shrunk = rotated[None] / (values[None, :, None] + penalties.to(x)[:, None, None])
    weights = vectors @ shrunk
    return x.T @ weights if wide else weights
