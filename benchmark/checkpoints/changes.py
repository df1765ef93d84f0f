"""What a layout does to tensors whose numbers lie in the file in another order than the architecture has them.

Each change is declared in a layout (`layout.Layout.changes`) and applied to the encoder's tensors by name, in order,
after the renames. None of them computes anything but sums: they move, join, split, copy and reorder.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from benchmark.checkpoints.change import TensorChange, unlike
from benchmark.checkpoints.regroupings import Add, Fuse, Peel, Split, Spread, Unstack


class Permute(TensorChange):
    """Reorders axes: kernels (H, W, I, O) of JAX and TensorFlow with `axes: [3, 2, 0, 1]`."""

    op: Literal["permute"]
    axes: tuple[int, ...]

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self.found(state):
            if state[name].ndim != len(self.axes):
                raise unlike(name, state[name], f"{len(self.axes)} axes")
            changed[name] = state[name].permute(self.axes).contiguous()
        return changed


class Reshape(TensorChange):
    """Another shape for the same numbers; at most one -1, and 0 keeps the size of that axis."""

    op: Literal["reshape"]
    shape: tuple[int, ...]

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self.found(state):
            tensor = state[name]
            kept = [tensor.shape[i] if n == 0 and i < tensor.ndim else n for i, n in enumerate(self.shape)]
            known = 1
            for n in kept:
                known *= n if n != -1 else 1
            if known == 0 or (tensor.numel() % known if -1 in kept else tensor.numel() != known):
                raise unlike(name, tensor, f"one that becomes {self.shape}")
            changed[name] = tensor.reshape(kept)
        return changed


class Unsqueeze(TensorChange):
    """Puts an axis of one in: positions (N, D) become (1, N, D)."""

    op: Literal["unsqueeze"]
    dim: int = 0

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self.found(state):
            if state[name].ndim < self.dim:
                raise unlike(name, state[name], f"at least {self.dim} axes")
            changed[name] = state[name].unsqueeze(self.dim)
        return changed


class Slice(TensorChange):
    """Keeps a range of one axis: `start`, `stop` as in Python (rows that stand for padding tokens, say)."""

    op: Literal["slice"]
    dim: int = 0
    start: int | None = None
    stop: int | None = None

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self.found(state):
            tensor = state[name]
            kept = range(*slice(self.start, self.stop).indices(tensor.shape[self.dim])) if tensor.ndim else range(0)
            if not kept:
                raise unlike(name, tensor, f"something left after {self.start}:{self.stop} of axis {self.dim}")
            changed[name] = tensor.narrow(self.dim, kept.start, len(kept)).contiguous()
        return changed


class Total(TensorChange):
    """Sums one axis away: a kernel over frames becomes the one that a repeated image meets."""

    op: Literal["sum"]
    dim: int

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self.found(state):
            if state[name].ndim <= self.dim:
                raise unlike(name, state[name], f"an axis {self.dim}")
            changed[name] = state[name].sum(self.dim)
        return changed


class Scale(TensorChange):
    """Multiplies by a number: where an encoder adds a tensor twice that the architecture adds once."""

    op: Literal["scale"]
    factor: float

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        found = dict(self.found(state))
        return {name: tensor * self.factor if name in found else tensor for name, tensor in state.items()}


class Zeros(TensorChange):
    """Writes a bias of zeros down beside a weight, where the file has none because its network adds none.

    Attributes:
        pattern: the weight; its first axis says how long the bias is.
        into: the bias's name; refers to the pattern's groups. One that the file has stays as it is.
    """

    op: Literal["zeros"]
    into: str

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, match in self.found(state):
            if not state[name].ndim:
                raise unlike(name, state[name], "a weight with an axis of outputs")
            changed.setdefault(match.expand(self.into), state[name].new_zeros(state[name].shape[0]))
        return changed


Change = Annotated[
    Permute | Reshape | Unsqueeze | Fuse | Split | Unstack | Slice | Total | Scale | Spread | Add | Peel | Zeros,
    Field(discriminator="op"),
]
