"""Changes that join tensors, take them apart or copy them, so that other names hold the same numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from benchmark.checkpoints.change import Pattern, TensorChange, unlike
from benchmark.errors import CheckpointError


class Fuse(TensorChange):
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
        for name, match in self.found(state):
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


class Split(TensorChange):
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
        matches = dict(self.found(state))
        for name, tensor in state.items():
            if name not in matches:
                changed[name] = tensor
                continue
            if tensor.ndim <= self.dim or tensor.shape[self.dim] % len(self.into):
                raise unlike(name, tensor, f"one of {len(self.into)} equal parts")
            for target, part in zip(self.into, tensor.chunk(len(self.into), self.dim), strict=True):
                if target:
                    changed[matches[name].expand(target)] = part.contiguous()
        return changed


class Unstack(TensorChange):
    """Takes a leading axis of layers apart: names with `{}`, which becomes the index."""

    op: Literal["unstack"]
    into: str

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed: dict[str, Tensor] = {}
        matches = dict(self.found(state))
        for name, tensor in state.items():
            if name not in matches:
                changed[name] = tensor
                continue
            if not tensor.ndim:
                raise unlike(name, tensor, "a leading axis of layers")
            for index, part in enumerate(tensor.unbind(0)):
                changed[matches[name].expand(self.into).replace("{}", str(index))] = part.contiguous()
        return changed


class Spread(TensorChange):
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
        shared = self.found(state)
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


class Add(TensorChange):
    """Adds the tensors that `pattern` finds to another one, and leaves them out: a position of its own for the class
    token, say, which the architecture keeps inside of that token.

    Attributes:
        to: the tensor that they are added to; refers to the pattern's groups.
    """

    op: Literal["add"]
    to: str

    def _apply(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = dict(state)
        for name, match in self.found(state):
            target = match.expand(self.to)
            if target not in changed or changed[target].numel() != state[name].numel():
                raise unlike(name, state[name], f"the shape of {target}, which it is added to")
            changed[target] = changed[target] + changed.pop(name).reshape(changed[target].shape)
        return changed


class Peel(TensorChange):
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
        for name, match in self.found(state):
            tensor = state[name]
            if tensor.ndim <= self.dim or tensor.shape[self.dim] <= self.count:
                raise unlike(name, tensor, f"more than {self.count} rows on axis {self.dim}")
            changed[match.expand(self.into)] = tensor.narrow(self.dim, 0, self.count).contiguous()
            rest = tensor.shape[self.dim] - self.count
            changed[name] = tensor.narrow(self.dim, self.count, rest).contiguous()
        return changed
