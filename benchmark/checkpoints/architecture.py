"""Which architecture a set of named tensors looks like, from a small shipped index.

A network is known by the set of its `name:shape` pairs. The index keeps, for every architecture, the size of that set
and its K smallest hashes (a bottom-K sketch: a uniform sample of the set, Cohen & Kaplan 2007), so that the share of an
architecture's tensors that a file holds is the share of the sample that it holds. With K = 64 the standard error is at
most 6 points, and zero for a complete match. `benchmark.checkpoints.index` makes the file again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from torch import Tensor

INDEX = "architectures.npz"
SKETCH = 64
NEAR = 0.2  # below this share two networks have little more than a stem in common


@dataclass(frozen=True)
class Near:
    """An architecture and how much of it a file holds.

    Attributes:
        name: what `--arch` takes (a timm name) or `torchvision:NAME`.
        similarity: estimated Jaccard index of the two sets of `name:shape` pairs, in [0, 1].
        twins: other architectures with exactly the same tensors (they differ in padding, activation, input size ...).
    """

    name: str
    similarity: float
    twins: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Index:
    names: tuple[tuple[str, ...], ...]
    sketches: np.ndarray  # (A, SKETCH) uint32, ascending; only the first `filled` of a row mean anything
    filled: np.ndarray  # (A,) int64
    sizes: np.ndarray  # (A,) int64, distinct tensors of the architecture


def signature(shapes: Mapping[str, Sequence[int]]) -> np.ndarray:
    """The sorted distinct 32-bit hashes of `name:shape`, (N,) uint32.

    BatchNorm's step counters are left out: files written before torch 0.4.1 lack them.
    """
    texts = (
        f"{key}:{tuple(map(int, shape))}" for key, shape in shapes.items() if not key.endswith("num_batches_tracked")
    )
    hashes = {int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") for text in texts}
    return np.array(sorted(hashes), dtype=np.uint32)


def nearest(state: Mapping[str, Tensor | Sequence[int]], n: int = 3) -> list[Near]:
    """The architectures that share most tensors with `state` (tensors or shapes by name), best first.

    Those under `NEAR` are left out, so the list may be empty.
    """
    shapes = {key: tuple(value.shape) if isinstance(value, Tensor) else tuple(value) for key, value in state.items()}
    query = signature(shapes)
    if not len(query):
        return []
    index = _load(None)
    position = np.arange(index.sketches.shape[1])[None, :] < index.filled[:, None]
    held = (np.isin(index.sketches, query) & position).sum(axis=1) / np.maximum(index.filled, 1)
    common = np.minimum(held * index.sizes, len(query))
    similarity = common / (index.sizes + len(query) - common)
    order = sorted(np.flatnonzero(similarity >= NEAR), key=lambda row: (-similarity[row], len(index.names[row][0])))
    return [Near(index.names[row][0], float(similarity[row]), index.names[row][1:]) for row in order[:n]]


def exact(shapes: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """The architectures whose tensors are these, as far as the sample of them in the index tells; timm's if any are."""
    found = [near for near in nearest(shapes, n=4) if near.similarity == 1.0]
    names = [name for near in found for name in (near.name, *near.twins)]
    ours = [name for name in names if not name.startswith("torchvision:")]
    return tuple(ours or names)


def hint(state: Mapping[str, Tensor | Sequence[int]]) -> str:
    """The nearest architectures as the end of an error message."""
    found = nearest(state, n=2)
    if not found:
        return (
            "no timm architecture comes near these tensors (--arch python:module:factory loads a network of your own)"
        )
    named = " or ".join(f"{near.name} ({near.similarity:.0%} of tensors)" for near in found)
    twins = f", which {', '.join(found[0].twins[:2])} equals in shapes" if found[0].twins else ""
    return f"nearest: {named}{twins}"


def write(path: Path, signatures: Mapping[str, np.ndarray]) -> None:
    """Writes the index of `signature` arrays by architecture name to `path` (.npz).

    Architectures with equal signatures become one row, the shortest name first.
    """
    rows: dict[bytes, list[str]] = {}
    for name in sorted(signatures, key=lambda name: (name.startswith("torchvision:"), len(name), name)):
        rows.setdefault(signatures[name].tobytes(), []).append(name)
    sketches = np.zeros((len(rows), SKETCH), np.uint32)
    sizes = np.zeros(len(rows), np.int64)
    for row, raw in enumerate(rows):
        hashes = np.frombuffer(raw, np.uint32)
        sizes[row] = len(hashes)
        sketches[row, : min(SKETCH, len(hashes))] = hashes[:SKETCH]
    names = "\n".join(" ".join(group) for group in rows.values()).encode()
    np.savez_compressed(path, names=np.frombuffer(names, np.uint8), sketches=sketches, sizes=sizes)


@lru_cache(maxsize=2)
def _load(path: Path | None) -> _Index:
    with (path or files("benchmark.checkpoints") / INDEX).open("rb") as stream, np.load(stream) as arrays:
        names = bytes(arrays["names"]).decode().split("\n")
        sizes = arrays["sizes"]
        return _Index(
            tuple(tuple(group.split(" ")) for group in names), arrays["sketches"], np.minimum(sizes, SKETCH), sizes
        )
