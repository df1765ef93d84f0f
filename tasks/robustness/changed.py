"""Reported images changed by ever more, kind by kind, judged by one head of clean features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, Field
from torch import Tensor

from benchmark.metrics.changes import Histogram, Kind, changes_table
from benchmark.task import ShiftInputs
from tasks.corruptions import digests
from tasks.robustness.asked import Asked, pixels_of
from tasks.robustness.judge import Judge

Level = TypeVar("Level", bound=float)


def _ascending(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    if any(after <= before for before, after in pairwise(levels)):
        raise ValueError("give levels in ascending order, each once")
    return levels


Levels = Annotated[tuple[Level, ...], Field(min_length=1), AfterValidator(_ascending)]
"""The levels of one kind of change in a protocol's settings."""

Changes = Callable[[Tensor, Tensor], Iterator[tuple[str, int, Tensor]]]
"""(uint8 (B, 3, H, W), digests of their ids int64 (B,)) -> kind, place among its levels, changed images; for each level
of each kind once, in any order."""


def answers(
    inputs: ShiftInputs,
    asked: Asked,
    judge: Judge,
    kinds: Mapping[str, Kind],
    changes: Changes,
    seen: Callable[[Tensor, np.ndarray], None] = lambda pixels, here: None,
) -> dict[str, np.ndarray]:
    """The best class of every image at every level: kind -> int32 (N, L).

    Features of changed images are judged as they come and not kept.

    Args:
        inputs: with the images and the encoder.
        asked: the images.
        judge: what says the class.
        kinds: what `changes` yields.
        changes: makes the changed images.
        seen: called with each batch of images as they are and their places among those asked.

    Raises:
        DataError: an image that cannot be read.
    """
    images = inputs.images
    found = {name: np.zeros((len(asked), len(kind.levels)), np.int32) for name, kind in kinds.items()}
    keys = digests(asked.ids.to_pylist())
    done, total = 0, len(asked) * sum(len(kind.levels) for kind in kinds.values())
    for pixels, here in pixels_of(inputs, asked.split):
        seen(pixels, here)
        for name, place, changed in changes(pixels, keys[here]):
            found[name][here, place] = judge.of_images(images.backbone, changed).argmax(dim=1).cpu().numpy()
            done += len(here)
            images.progress(done, total, f"{name} {kinds[name].levels[place]:g}")
    return found


def answered(
    inputs: ShiftInputs,
    asked: Asked,
    judge: Judge,
    kinds: Mapping[str, Kind],
    found: Mapping[str, np.ndarray],
    histogram: Histogram | None = None,
) -> tuple[pa.Table, dict[str, Any]]:
    """The table of the `changes` scorer, and facts for the details of a result."""
    clean = judge.logits(asked.features).argmax(dim=1).cpu().numpy()
    classes = len(inputs.features.classes)
    table = changes_table(asked.ids, asked.targets, clean, kinds, found, classes, histogram)
    return table, {"head": judge.details, "images": len(asked)}
