"""Synthetic features for the solvers' tests."""

from __future__ import annotations

import torch
from torch import Tensor


def spectrum_features(n: int, dim: int, classes: int, separation: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(N, D) float32 features with eigenvalues 1 / i in a random basis, an offset, and (N,) labels."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, dim + 1).pow(-0.5)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0]
    means = separation * torch.randn(classes, dim, generator=generator)
    y = torch.arange(n) % classes
    x = ((torch.randn(n, dim, generator=generator) + means[y]) * scale) @ basis
    return x + 0.5, y


def overlapping(n: int, dim: int, classes: int, separation: float = 0.7, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The same with classes that overlap, standardised, in random order of labels."""
    x, y = spectrum_features(n, dim, classes, separation, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + 1))
    return ((x - x.mean(0)) / x.std(0))[order], y[order]
