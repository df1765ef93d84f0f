"""What a declared change of an encoder's tensors is."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
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


class TensorChange(BaseModel, ABC):
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

    def found(self, state: Mapping[str, Tensor]) -> list[tuple[str, re.Match[str]]]:
        """The names that the pattern finds, with their matches."""
        return [(name, match) for name in state if (match := re.search(self.pattern, name))]


def unlike(name: str, tensor: Tensor, expected: str) -> CheckpointError:
    """The error for a tensor that does not have the shape which a change is about."""
    return CheckpointError(expected, f"{name} of shape {tuple(tensor.shape)}", "check --layout")
