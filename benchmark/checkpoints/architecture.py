"""Which architecture a set of named tensors looks like, from a shipped index.

A network is known by the set of its (name, shape) pairs. The index holds these sets whole, so that two networks that
differ in a single tensor are told apart: every name and shape once, every pair as two numbers, every network as the
numbers of its pairs. Related networks follow each other, which leaves little to store. `benchmark.checkpoints.index`
makes the file again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import chain
from pathlib import Path

import numpy as np
from torch import Tensor

INDEX = "architectures.npz"
NEAR = 0.2  # below this share two networks have little more than a stem in common
SHOWN = 3  # differences named in a message

Shape = tuple[int, ...]
State = Mapping[str, Tensor | Sequence[int]]


@dataclass(frozen=True)
class Near:
    """An architecture and how much of it a file holds.

    Attributes:
        name: what `--arch` takes (a timm name) or `torchvision:NAME`.
        similarity: Jaccard index of the two sets of pairs, in [0, 1]; 1 means equal.
        twins: other architectures with exactly the same tensors (they differ in padding, activation, input size ...).
    """

    name: str
    similarity: float
    twins: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Index:
    """The file, read.

    Attributes:
        groups: architectures with equal tensors, by row.
        names, shapes: of tensors, a number for each; a shape as `64,3,7,7`.
        pairs: (V,) int64, ascending: number of the name times number of shapes plus number of the shape.
        order: (V,) where in `pairs` the pair of each number is.
        held: (T,) numbers of the pairs of all networks, one after the other.
        starts: (A,) where in `held` each of them begins.
    """

    groups: tuple[tuple[str, ...], ...]
    names: dict[str, int]
    shapes: dict[str, int]
    pairs: np.ndarray
    order: np.ndarray
    held: np.ndarray
    starts: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """(A,) tensors of each network."""
        return np.diff(self.starts, append=len(self.held))

    def numbers(self, tensors: Mapping[str, Shape]) -> np.ndarray:
        """Where in `pairs` those of these tensors are that any network has."""
        known = [
            self.names[name] * len(self.shapes) + self.shapes[text]
            for name, shape in tensors.items()
            if name in self.names and (text := _text(shape)) in self.shapes
        ]
        codes = np.array(known, np.int64)
        found = np.searchsorted(self.pairs, codes).clip(max=len(self.pairs) - 1)
        return found[self.pairs[found] == codes]

    def tensors(self, row: int) -> dict[str, Shape]:
        """The shapes by name of one network."""
        names, shapes = list(self.names), list(self.shapes)
        end = self.starts[row + 1] if row + 1 < len(self.starts) else len(self.held)
        codes = self.pairs[self.order[self.held[self.starts[row] : end]]]
        return {
            names[code // len(shapes)]: tuple(map(int, filter(None, shapes[code % len(shapes)].split(","))))
            for code in codes.tolist()
        }


def shapes_by_name(state: State) -> dict[str, Shape]:
    """The shapes of tensors (or shapes); BatchNorm's step counters are left out: files before torch 0.4.1 lack them."""
    return {
        name: tuple(value.shape) if isinstance(value, Tensor) else tuple(map(int, value))
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }


def nearest(state: State, n: int = 3) -> list[Near]:
    """The architectures that share most tensors with `state` (tensors or shapes by name), best first.

    Those under `NEAR` are left out, so the list may be empty.
    """
    tensors, index = shapes_by_name(state), _load(None)
    present = np.zeros(len(index.pairs), bool)
    present[index.numbers(tensors)] = True
    common = np.add.reduceat(present[index.order[index.held]], index.starts, dtype=np.int64)
    similarity = common / (index.sizes + len(tensors) - common)
    order = sorted(np.flatnonzero(similarity >= NEAR), key=lambda row: (-similarity[row], len(index.groups[row][0])))
    return [Near(index.groups[row][0], float(similarity[row]), index.groups[row][1:]) for row in order[:n]]


def exact(shapes: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """The architectures that have these tensors and no others; timm's if any are."""
    names = [name for near in nearest(shapes, n=1) if near.similarity == 1 for name in (near.name, *near.twins)]
    ours = [name for name in names if not name.startswith("torchvision:")]
    return tuple(ours or names)


def differences(state: State, name: str) -> list[str]:
    """In words, every tensor that tells `state` from the architecture of that name."""
    tensors, index = shapes_by_name(state), _load(None)
    row = next(row for row, group in enumerate(index.groups) if name in group)
    wanted = index.tensors(row)
    reshaped = [f"{n} {tensors[n]} for {wanted[n]}" for n in tensors if n in wanted and tensors[n] != wanted[n]]
    missing = [f"no {n} {wanted[n]}" for n in wanted if n not in tensors]
    return [*reshaped, *missing, *(f"{n} {tensors[n]} besides" for n in tensors if n not in wanted)]


def hint(state: State) -> str:
    """The nearest architectures, and what tells the file from the first of them, as the end of an error message."""
    found = nearest(state, n=2)
    if not found:
        return (
            "no timm architecture comes near these tensors (--arch python:module:factory loads a network of your own)"
        )
    named = " or ".join(f"{near.name} ({int(near.similarity * 100)}% of tensors)" for near in found)
    twins = f", which {', '.join(found[0].twins[:2])} equals in shapes" if found[0].twins else ""
    apart = differences(state, found[0].name)
    if not apart:
        return f"nearest: {named}{twins}"
    more = f" and {len(apart) - SHOWN} more" if len(apart) > SHOWN else ""
    return f"nearest: {named}{twins}; from {found[0].name} it differs in {', '.join(apart[:SHOWN])}{more}"


def write(path: Path, networks: Mapping[str, State]) -> None:
    """Writes the index of tensors (or shapes) by name, by architecture, to `path` (.npz).

    Architectures with equal tensors become one row, the shortest name first.
    """
    rows: dict[frozenset[tuple[str, Shape]], list[str]] = {}
    for name in sorted(networks, key=lambda name: (name.startswith("torchvision:"), len(name), name)):
        rows.setdefault(frozenset(shapes_by_name(networks[name]).items()), []).append(name)
    groups = sorted(rows.values(), key=lambda group: group[0])  # relatives are neighbours
    numbers: dict[tuple[str, Shape], int] = {}
    held = [
        sorted(numbers.setdefault(pair, len(numbers)) for pair in shapes_by_name(networks[group[0]]).items())
        for group in groups
    ]
    names = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in numbers))}
    shapes = {shape: number for number, shape in enumerate(dict.fromkeys(_text(shape) for _, shape in numbers))}
    np.savez_compressed(
        path,
        groups=_packed(" ".join(group) for group in groups),
        names=_packed(names),
        shapes=_packed(shapes),
        # Differences of neighbours are small or repeat, and so compress.
        pair_names=np.diff(np.array([names[name] for name, _ in numbers], np.int32), prepend=0),
        pair_shapes=np.array([shapes[_text(shape)] for _, shape in numbers], np.uint16),
        sizes=np.array([len(row) for row in held], np.int32),
        held=np.diff(np.array(list(chain.from_iterable(held)), np.int32), prepend=0),
    )


def _text(shape: Shape) -> str:
    return ",".join(map(str, shape))


def _packed(lines: Iterable[str]) -> np.ndarray:
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


@lru_cache(maxsize=2)
def _load(path: Path | None) -> _Index:
    with (path or files("benchmark.checkpoints") / INDEX).open("rb") as stream, np.load(stream) as arrays:

        def numbered(name: str) -> dict[str, int]:
            return {line: number for number, line in enumerate(bytes(arrays[name]).decode().split("\n"))}

        names, shapes, sizes = numbered("names"), numbered("shapes"), arrays["sizes"]
        codes = np.cumsum(arrays["pair_names"], dtype=np.int64) * len(shapes) + arrays["pair_shapes"]
        sort = np.argsort(codes)
        order = np.empty(len(sort), np.int32)
        order[sort] = np.arange(len(sort), dtype=np.int32)
        return _Index(
            tuple(tuple(group.split(" ")) for group in numbered("groups")),
            names,
            shapes,
            codes[sort],
            order,
            np.cumsum(arrays["held"], dtype=np.int32),
            np.cumsum(sizes, dtype=np.int64) - sizes,
        )
