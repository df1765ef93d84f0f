"""What a layout does to tensors whose numbers lie in the file in another order than the architecture has them.

Each change is declared in a layout (`layouts.Layout.changes`) and applied to the encoder's tensors by name, in order,
after the renames. None of them computes anything but sums: they move, join, split, copy and reorder.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from benchmark.errors import CheckpointError


def compiles(pattern: str) -> str:
    """The pattern, if it is a regular expression.

    Raises:
        ValueError: it is none.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(compiles)]


class _Change(BaseModel, ABC):
    """A change of the tensors whose names `pattern` finds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: Pattern

    def apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state after the change; the argument is left as it is.

        Raises:
            CheckpointError: a tensor does not have the shape that the change is about.
        """
        return self._apply(state)

    @abstractmethod
    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]: ...

    def _found(self, state: Mapping[str, Tensor]) -> list[tuple[str, re.Match[str]]]:
        return [(name, match) for name in state if (match := re.search(self.pattern, name))]


class Permute(_Change):
    """Reorders axes: kernels (H, W, I, O) of JAX and TensorFlow with `axes: [3, 2, 0, 1]`."""

    op: Literal["permute"]
    axes: tuple[int, ...]

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self._found(state):
            if state[name].ndim != len(self.axes):
                raise _unlike(name, state[name], f"{len(self.axes)} axes")
            changed[name] = state[name].permute(self.axes).contiguous()
        return changed


class Reshape(_Change):
    """Another shape for the same numbers; at most one -1, and 0 keeps the size of that axis."""

    op: Literal["reshape"]
    shape: tuple[int, ...]

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self._found(state):
            tensor = state[name]
            kept = [tensor.shape[i] if n == 0 and i < tensor.ndim else n for i, n in enumerate(self.shape)]
            known = 1
            for n in kept:
                known *= n if n != -1 else 1
            if known == 0 or (tensor.numel() % known if -1 in kept else tensor.numel() != known):
                raise _unlike(name, tensor, f"one that becomes {self.shape}")
            changed[name] = tensor.reshape(kept)
        return changed


class Unsqueeze(_Change):
    """Puts an axis of one in: positions (N, D) become (1, N, D)."""

    op: Literal["unsqueeze"]
    dim: int = 0

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self._found(state):
            if state[name].ndim < self.dim:
                raise _unlike(name, state[name], f"at least {self.dim} axes")
            changed[name] = state[name].unsqueeze(self.dim)
        return changed


class Fuse(_Change):
    """Joins tensors that the architecture keeps as one: separate queries, keys and values to `qkv`.

    Attributes:
        pattern: with a group `part`.
        parts: what `part` has to be, in the order in which the tensors are joined.
        into: the joined name; refers to the pattern's groups.
        zeros: parts that the file leaves out where they are zero (the bias of BEiT's keys).
        dim: the axis.
    """

    op: Literal["fuse"]
    parts: tuple[str, ...]
    into: str
    zeros: tuple[str, ...] = ()
    dim: int = 0

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        joined: dict[str, dict[str, str]] = {}
        for name, match in self._found(state):
            if match["part"] in self.parts:
                joined.setdefault(match.expand(self.into), {})[match["part"]] = name
        places = {min(parts.values(), key=list(state).index): target for target, parts in joined.items()}
        gone = {name for parts in joined.values() for name in parts.values()}
        changed: dict[str, Tensor] = {}
        for name, tensor in state.items():
            if name in places:
                changed[places[name]] = self._join(places[name], joined[places[name]], state)
            if name not in gone:
                changed[name] = tensor
        return changed

    def _join(self, target: str, parts: dict[str, str], state: Mapping[str, Tensor]) -> Tensor:
        like = state[next(iter(parts.values()))]
        missing = [part for part in self.parts if part not in parts and part not in self.zeros]
        if missing:
            raise CheckpointError(
                f"{' and '.join(self.parts)} of {target}", f"no {' and '.join(missing)}", "take a complete file"
            )
        return torch.cat([state[parts[p]] if p in parts else torch.zeros_like(like) for p in self.parts], self.dim)


class Split(_Change):
    """Cuts one tensor into equal parts with names of their own.

    Attributes:
        into: their names, in order; refer to the pattern's groups. An empty name leaves that part out.
        dim: the axis.
    """

    op: Literal["split"]
    into: tuple[str, ...]
    dim: int = 0

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed: dict[str, Tensor] = {}
        matches = dict(self._found(state))
        for name, tensor in state.items():
            if name not in matches:
                changed[name] = tensor
                continue
            if tensor.ndim <= self.dim or tensor.shape[self.dim] % len(self.into):
                raise _unlike(name, tensor, f"one of {len(self.into)} equal parts")
            for target, part in zip(self.into, tensor.chunk(len(self.into), self.dim), strict=True):
                if target:
                    changed[matches[name].expand(target)] = part.contiguous()
        return changed


class Unstack(_Change):
    """Takes a leading axis of layers apart: names with `{}`, which becomes the index."""

    op: Literal["unstack"]
    into: str

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed: dict[str, Tensor] = {}
        matches = dict(self._found(state))
        for name, tensor in state.items():
            if name not in matches:
                changed[name] = tensor
                continue
            if not tensor.ndim:
                raise _unlike(name, tensor, "a leading axis of layers")
            for index, part in enumerate(tensor.unbind(0)):
                changed[matches[name].expand(self.into).replace("{}", str(index))] = part.contiguous()
        return changed


class Slice(_Change):
    """Keeps a range of one axis: `start`, `stop` as in Python (rows that stand for padding tokens, say)."""

    op: Literal["slice"]
    dim: int = 0
    start: int | None = None
    stop: int | None = None

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self._found(state):
            tensor = state[name]
            kept = range(*slice(self.start, self.stop).indices(tensor.shape[self.dim])) if tensor.ndim else range(0)
            if not kept:
                raise _unlike(name, tensor, f"something left after {self.start}:{self.stop} of axis {self.dim}")
            changed[name] = tensor.narrow(self.dim, kept.start, len(kept)).contiguous()
        return changed


class Total(_Change):
    """Sums one axis away: a kernel over frames becomes the one that a repeated image meets."""

    op: Literal["sum"]
    dim: int

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, _ in self._found(state):
            if state[name].ndim <= self.dim:
                raise _unlike(name, state[name], f"an axis {self.dim}")
            changed[name] = state[name].sum(self.dim)
        return changed


class Scale(_Change):
    """Multiplies by a number: where an encoder adds a tensor twice that the architecture adds once."""

    op: Literal["scale"]
    factor: float

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        found = dict(self._found(state))
        return {name: tensor * self.factor if name in found else tensor for name, tensor in state.items()}


class Spread(_Change):
    """Copies a tensor that blocks share to every block: BEiT's table of relative positions.

    Attributes:
        pattern: the shared tensor.
        over: the tensors beside which a copy belongs (one per block); `into` refers to this pattern's groups.
        into: the copies' names.
    """

    op: Literal["spread"]
    over: Pattern
    into: str

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        shared = self._found(state)
        if not shared:
            return state
        if len(shared) > 1:
            raise CheckpointError(
                f"one tensor like {self.pattern}", ", ".join(name for name, _ in shared), "choose another layout"
            )
        name = shared[0][0]
        changed = {key: tensor for key, tensor in state.items() if key != name}
        for key in state:
            if match := re.search(self.over, key):
                changed[match.expand(self.into)] = state[name]
        return changed


class Add(_Change):
    """Adds the tensors that `pattern` finds to another one, and leaves them out: a position of its own for the class
    token, say, which the architecture keeps inside of that token.

    Attributes:
        to: the tensor that they are added to; refers to the pattern's groups.
    """

    op: Literal["add"]
    to: str

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, match in self._found(state):
            target = match.expand(self.to)
            if target not in changed or changed[target].numel() != state[name].numel():
                raise _unlike(name, state[name], f"the shape of {target}, which it is added to")
            changed[target] = changed[target] + changed.pop(name).reshape(changed[target].shape)
        return changed


class Peel(_Change):
    """Takes the first rows of a tensor away under a name of its own; with `add`, adds them to another tensor.

    Attributes:
        count: how many rows of axis `dim`.
        into: their name; refers to the pattern's groups.
        dim: the axis.
    """

    op: Literal["peel"]
    into: str
    count: int = 1
    dim: int = 0

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, match in self._found(state):
            tensor = state[name]
            if tensor.ndim <= self.dim or tensor.shape[self.dim] <= self.count:
                raise _unlike(name, tensor, f"more than {self.count} rows on axis {self.dim}")
            changed[match.expand(self.into)] = tensor.narrow(self.dim, 0, self.count).contiguous()
            rest = tensor.shape[self.dim] - self.count
            changed[name] = tensor.narrow(self.dim, self.count, rest).contiguous()
        return changed


class Zeros(_Change):
    """Writes a bias of zeros down beside a weight, where the file has none because its network adds none.

    Attributes:
        pattern: the weight; its first axis says how long the bias is.
        into: the bias's name; refers to the pattern's groups. One that the file has stays as it is.
    """

    op: Literal["zeros"]
    into: str

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, match in self._found(state):
            if not state[name].ndim:
                raise _unlike(name, state[name], "a weight with an axis of outputs")
            changed.setdefault(match.expand(self.into), state[name].new_zeros(state[name].shape[0]))
        return changed


Change = Annotated[
    Permute | Reshape | Unsqueeze | Fuse | Split | Unstack | Slice | Total | Scale | Spread | Add | Peel | Zeros,
    Field(discriminator="op"),
]


def _unlike(name: str, tensor: Tensor, expected: str) -> CheckpointError:
    return CheckpointError(expected, f"{name} of shape {tuple(tensor.shape)}", "check --layout")
