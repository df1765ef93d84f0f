"""The design matrix of a linear classifier: rows in blocks, and the one eigendecomposition that every lambda shares.

A solver works on weights `w` (G, r, K) that are written in the eigenbasis of the centred features' scatter matrix,
where G problems are solved side by side. Features are never copied as a whole when N > D: the weights are rotated
instead, at a cost of D / N of a pass over the data. When N <= D the optimum lies in the span of the rows, and the
rows are rotated into their (at most N) principal directions once; nothing D-dimensional is left in the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmark.errors import DataError

_RANK = 1e-13  # smallest relative eigenvalue that counts as a direction of the rows, in float64
_SAMPLE = 1 << 24  # numbers in the sample of rows
_OFFSET = 16.0  # from this ratio of mean to standard deviation on, float32 products need centred rows


@contextmanager
def full_precision() -> Iterator[None]:
    """Keeps TF32 out of float32 products: an optimum to 1e-7 cannot be told with ten bits of mantissa."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Design:
    """Centred features seen through an orthonormal basis.

    Args:
        features: (N, D), any floating type, on CPU or GPU. float64 is worked on in float64, the others in float32.
        weights: (N,) non-negative weights of the samples, or None for ones.
        device: where to compute; None stays with the features. Blocks of rows are moved there one at a time.
        basis_of: a design of nearly the same data (its first 90%, say) whose basis is good enough to work in. Any
            orthonormal basis gives the same optimum; only the speed of convergence rests on it.

    Attributes:
        mean: (D,) weighted mean.
        spectrum: (r,) eigenvalues of the weighted scatter matrix, in the order of the basis.
        total: the sum of the weights.

    Raises:
        DataError: the features are not finite, or there is none.
    """

    def __init__(
        self,
        features: Tensor,
        weights: Tensor | None = None,
        device: torch.device | None = None,
        basis_of: Design | None = None,
    ) -> None:
        if features.ndim != 2 or 0 in features.shape or not features.is_floating_point():
            found = f"{tuple(features.shape)} of {features.dtype}"
            raise DataError("features as a floating (N, D) matrix with N, D >= 1", found, "pass one row per sample")
        self.features = features
        self.device = torch.device(device) if device is not None else features.device
        self.dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
        self.weights = None if weights is None else weights.to(self.device, self.dtype)
        self.total = float(len(features)) if self.weights is None else float(self.weights.sum(dtype=torch.float64))
        mean64, variance = self._moments()
        self.mean = mean64.to(self.dtype)
        self.centred = bool((mean64.abs() > _OFFSET * variance.sqrt()).any())
        self.spectrum: Tensor
        self.rotated: Tensor | None = None
        self._sample: tuple[Tensor, Tensor] | None = None
        self.basis: Tensor | None = None
        n, dim = features.shape
        if n <= dim:
            self._rotate_rows()
        elif basis_of is not None and basis_of.basis is not None and basis_of.basis.shape[0] == dim:
            self.basis = basis_of.basis.to(self.device, self.dtype)
            self.spectrum = basis_of.spectrum.to(self.device, self.dtype) * (self.total / basis_of.total)
        else:
            self.spectrum, self.basis = self._eigenbasis()
        floor = torch.finfo(self.dtype).eps * float(self.spectrum.max())
        self.spectrum = self.spectrum.clamp_min(max(floor, torch.finfo(self.dtype).tiny))

    def __len__(self) -> int:
        return len(self.features)

    @property
    def rank(self) -> int:
        """The number of directions r that weights have here."""
        return len(self.spectrum)

    def raw_blocks(self, rows: int) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, features in the working type) for consecutive blocks of at most `rows` rows."""
        for start in range(0, len(self.features), rows):
            stop = min(start + rows, len(self.features))
            yield start, stop, self.features[start:stop].to(self.device, self.dtype)

    def blocks(self, rows: int) -> Iterator[tuple[int, int, Tensor]]:
        """As `raw_blocks`, of the rows that `expand` and `collect` are about."""
        if self.rotated is not None:
            for start in range(0, len(self.rotated), rows):
                stop = min(start + rows, len(self.rotated))
                yield start, stop, self.rotated[start:stop]
            return
        for start, stop, block in self.raw_blocks(rows):
            yield start, stop, (block - self.mean if self.centred else block)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Evenly spaced rows in the eigenbasis (n, r), centred, and how many samples each stands for (n,).

        They only steer the preconditioner: enough to average over, few enough to keep.
        """
        if self._sample is None:
            stride = -(-len(self) * self.rank // _SAMPLE)
            rows = self.rotated[::stride] if self.rotated is not None else self.features[::stride]
            weight = torch.ones(len(rows), dtype=self.dtype, device=self.device)
            weight = weight if self.weights is None else self.weights[::stride]
            if self.basis is not None:
                rows = (rows.to(self.device, self.dtype) - self.mean) @ self.basis
            self._sample = rows, weight * (self.total / max(float(weight.sum()), 1e-300))
        return self._sample

    def expand(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters (G, r + 1, K), bias last, to a matrix (F, G K) and an offset (G K,) for the rows of `blocks`."""
        groups, rows, classes = theta.shape
        weight = theta[:, :-1].transpose(0, 1).reshape(rows - 1, groups * classes)
        offset = theta[:, -1].reshape(-1)
        if self.rotated is not None:
            return weight, offset
        assert self.basis is not None
        weight = self.basis @ weight
        return weight, offset if self.centred else offset - self.mean @ weight

    def collect(self, product: Tensor, sums: Tensor, groups: int) -> Tensor:
        """The transpose of `expand`: X'A (F, G K) and the column sums of A (G K,) to a gradient (G, r + 1, K)."""
        if self.basis is not None:
            if not self.centred:
                product = torch.addr(product, self.mean, sums, alpha=-1)
            product = self.basis.T @ product
        gradient = torch.cat([product, sums[None]])
        return gradient.view(gradient.shape[0], groups, -1).transpose(0, 1).contiguous()

    def to_features(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters (G, r + 1, K) to weights (G, K, D) and biases (G, K) for the features as they were given."""
        basis = self.row_basis if self.rotated is not None else self.basis
        assert basis is not None
        weight = torch.einsum("dr,grk->gkd", basis, theta[:, :-1])
        return weight, theta[:, -1] - weight @ self.mean

    def from_features(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The inverse of `to_features` (of the part of `weight` that these rows can see)."""
        basis = self.row_basis if self.rotated is not None else self.basis
        assert basis is not None
        weight, bias = weight.to(self.device, self.dtype), bias.to(self.device, self.dtype)
        return torch.cat([torch.einsum("dr,gkd->grk", basis, weight), (bias + weight @ self.mean)[:, None]], dim=1)

    def _block_rows(self) -> int:
        return max(256, (1 << 23) // self.features.shape[1])

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Weighted mean and variance (D,), accumulated in float64 about a shift that keeps the variance accurate."""
        shift = self.features[0].to(self.device, torch.float64)
        first = torch.zeros_like(shift)
        second = torch.zeros_like(shift)
        for start, stop, block in self.raw_blocks(self._block_rows()):
            centred = block - shift.to(self.dtype)
            scaled = centred if self.weights is None else centred * self.weights[start:stop, None]
            first += scaled.sum(0, dtype=torch.float64)
            second += (scaled * centred).sum(0, dtype=torch.float64)
        mean = first / self.total
        variance = (second / self.total - mean**2).clamp_min(0)
        if not (torch.isfinite(shift).all() and torch.isfinite(variance).all() and torch.isfinite(mean).all()):
            bad = int((~(torch.isfinite(variance) & torch.isfinite(mean))).sum())
            raise DataError(
                "finite features", f"NaN, infinite or overflowing values in {bad} of {len(mean)} columns",
                "look at the weights and the preprocessing of the backbone that made them",
            )  # fmt: skip
        return mean + shift, variance

    def _eigenbasis(self) -> tuple[Tensor, Tensor]:
        dim = self.features.shape[1]
        scatter = torch.zeros(dim, dim, dtype=torch.float64, device=self.device)
        for start, stop, block in self.raw_blocks(self._block_rows()):
            block = block - self.mean
            scaled = block if self.weights is None else block * self.weights[start:stop, None]
            scatter += block.T @ scaled
        spectrum, basis = torch.linalg.eigh(scatter.to(self.dtype))
        return spectrum, basis

    def _rotate_rows(self) -> None:
        """Replaces (N, D) rows, N <= D, by their (N, r) coordinates in the span of the centred rows.

        The eigendecomposition is of the N x N matrix of inner products of the rows, each scaled by the root of its
        weight (a row of weight zero is not in the span and needs not be).
        """
        rows = self.features.to(self.device, torch.float64) - self.mean
        scaled = rows if self.weights is None else rows * self.weights.double().sqrt()[:, None]
        values, vectors = torch.linalg.eigh(scaled @ scaled.T)
        kept = values > _RANK * max(float(values[-1]), torch.finfo(torch.float64).tiny)
        if not kept.any():  # identical rows: one direction that nothing varies along
            kept[-1] = True
        values, vectors = values[kept], vectors[:, kept]
        basis, _ = torch.linalg.qr(scaled.T @ (vectors / values.clamp_min(1e-300).sqrt()))
        self.row_basis = basis.to(self.dtype)
        self.rotated = (rows @ basis).to(self.dtype)
        self.spectrum = values.to(self.dtype)
