"""Cells: checkpoint x task x dataset x seed, and what a protocol makes of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import RequestError, nearest
from benchmark.protocol import DenseSettings, HeadSettings, ImageSettings, ProtocolSettings
from benchmark.results.store import CellKey
from benchmark.suites.cards import ModelCard
from benchmark.task import Need, Task

State = Literal["todo", "done", "failed", "not applicable"]


@dataclass(frozen=True)
class PlannedTask:
    """A task under one protocol, and the datasets it runs on."""

    task: Task
    protocol: ProtocolSettings
    datasets: tuple[str, ...]

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the runner must prepare."""
        return self.task.needs_of(self.protocol)


@dataclass(frozen=True)
class Cell:
    """One unit of work. `state` is what the store says now; `reason` why it is not applicable."""

    key: CellKey
    card: ModelCard
    planned: PlannedTask
    dataset: str
    seed: int
    state: State
    reason: str = ""


def preprocessing_of(backbone: Backbone, protocol: ProtocolSettings) -> Preprocessing:
    """The checkpoint's preprocessing, with the crop fraction or the size that the protocol pins if it pins one."""
    if isinstance(protocol, DenseSettings):
        size = backbone.preprocessing.size if protocol.size is None else _whole_cells(backbone, protocol.size)
        return backbone.preprocessing.squashed(size)
    if isinstance(protocol, ImageSettings):
        return backbone.preprocessing.cut_by_protocol(_whole_cells(backbone, protocol.size))
    pinned = protocol.crop_pct
    return backbone.preprocessing if pinned is None else backbone.preprocessing.pinned(crop_pct=pinned)


def _whole_cells(backbone: Backbone, side: int) -> tuple[int, int]:
    """A square of whole cells of the encoder's map, `side` pixels at most; its own size where it has no map."""
    if not backbone.stride:
        return backbone.preprocessing.size
    whole = max(1, side // backbone.stride) * backbone.stride
    return whole, whole


def representation_of(backbone: Backbone, protocol: ProtocolSettings) -> str:
    """The representation that a protocol uses on this backbone.

    Raises:
        RequestError: the backbone does not have it.
    """
    if isinstance(protocol, HeadSettings) and protocol.head == "own" and backbone.head is not None:
        return backbone.head.representation
    name = backbone.default_representation if protocol.representation == "default" else protocol.representation
    if name not in backbone.representations:
        raise RequestError(f"a representation of {backbone.arch}", repr(name), nearest(name, backbone.representations))
    return name
