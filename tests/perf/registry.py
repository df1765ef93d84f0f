"""The registry of benchmarks, and what one of them measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Setting:
    """How to measure.

    Attributes:
        device: the device of our side (and of the peer's, where it has one).
        quick: smaller sizes, to see that a benchmark runs; the figures are no claim.
    """

    device: torch.device
    quick: bool = False


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what was measured.
        ours, peer: seconds, or another quantity of which less is better (see `unit`).
        ratio: of the two, the way round that `requirement` says.
        requirement: what the ratio has to be, in words.
        met: whether it is, together with any other condition in `notes`; None where nothing is required.
        notes: figures that the comparison rests on.
        unit: of `ours` and `peer`.
    """

    name: str
    ours: float
    peer: float
    ratio: float
    requirement: str
    met: bool | None
    notes: dict[str, Any] = field(default_factory=dict)
    unit: str = "s"

    @classmethod
    def faster(cls, name: str, ours: float, peer: float, at_least: float, sound: bool = True, **notes: Any) -> Row:
        """A row that asks peer / ours >= `at_least`; `sound` is whether both did the same work well enough."""
        ratio = peer / ours
        return cls(name, ours, peer, ratio, f"peer / ours >= {at_least:g}", sound and ratio >= at_least, notes)

    @classmethod
    def at_most(
        cls, name: str, ours: float, peer: float, limit: float, sound: bool = True, unit: str = "s", **notes: Any
    ) -> Row:
        """A row that asks ours / peer <= `limit`."""
        ratio = ours / peer
        return cls(name, ours, peer, ratio, f"ours / peer <= {limit:g}", sound and ratio <= limit, notes, unit)


Benchmark = Callable[[Setting], Iterator[Row]]
REGISTRY: dict[str, Benchmark] = {}


def benchmark(name: str) -> Callable[[Benchmark], Benchmark]:
    """Registers a benchmark under a name that the command line selects it by."""

    def register(function: Benchmark) -> Benchmark:
        if name in REGISTRY:
            raise ValueError(f"two benchmarks are called {name!r}")
        REGISTRY[name] = function
        return function

    return register


def seconds(function: Callable[[], Any], setting: Setting) -> tuple[float, Any]:
    """Wall-clock seconds of a call, up to the end of the work that it gave to the GPU, and its result."""
    cuda = setting.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(setting.device)
    start = time.perf_counter()
    result = function()
    if cuda:
        torch.cuda.synchronize(setting.device)
    return time.perf_counter() - start, result
