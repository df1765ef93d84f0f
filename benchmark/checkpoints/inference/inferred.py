"""What an inference comes to, and what it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from benchmark.checkpoints.layout import Facts
from benchmark.errors import CheckpointError


@dataclass(frozen=True)
class Query:
    """An encoder whose architecture is asked for.

    Attributes:
        shapes: of its tensors, by name, classifier and the like left out.
        facts: what its layout says.
        layout: the layout's name.
        size: (h, w) of the images that it is to see; None for those that it was trained on.
        stated: names of architectures that the file itself holds (its `arch` entry or arguments).
        learned_positions: it has a position embedding that is no table of sines and cosines.
    """

    shapes: Mapping[str, tuple[int, ...]]
    facts: Facts = field(default_factory=Facts)
    layout: str = "generic"
    size: tuple[int, int] | None = None
    stated: Sequence[str] = ()
    learned_positions: bool = False

    def count(self, prefix: str) -> int:
        """How many numbered modules follow `prefix`: `blocks.` -> depth.

        Raises:
            CheckpointError: one in the middle is missing.
        """
        numbers = {name[len(prefix) :].partition(".")[0] for name in self.shapes if name.startswith(prefix)}
        found = sorted(int(number) for number in numbers if number.isdigit())
        if found and found != list(range(len(found))):
            gap = next(i for i, number in enumerate(found) if i != number)
            raise CheckpointError(
                f"{prefix}0 to {prefix}{found[-1]}", f"no {prefix}{gap}", "the file is not whole: take another copy"
            )
        return len(found)


@dataclass(frozen=True)
class Inferred:
    """An architecture read from tensors.

    Attributes:
        arch: as `--arch` takes it.
        notes: what was decided by something else than shapes, and by what; for people.
        size: (h, w) that the encoder's own tensors are for; None where they are for any.
    """

    arch: str
    notes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None


def spelled(base: str, options: Mapping[str, Any]) -> str:
    """`NAME?key=value&...` as `--arch` takes it; options that are None left out."""

    def show(value: Any) -> str:
        if isinstance(value, (tuple, list)):
            return "(" + ",".join(show(part) for part in value) + ")"
        return str(value).lower() if isinstance(value, bool) else str(value)

    parts = [f"{key}={show(value)}" for key, value in sorted(options.items()) if value is not None]
    joiner = "&" if "?" in base else "?"
    return base + (joiner + "&".join(parts) if parts else "")


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
