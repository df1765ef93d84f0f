"""What the reader of pickles and its table of globals pass to each other, and what may be a dictionary key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmark.checkpoints.placeholder import Placeholder

KEY_DEPTH = 4  # nesting of tuples allowed in a dictionary key: hashing recurses


class PickleDamage(Exception):
    """The stream is not a pickle, ends early, or does what no honest writer does."""


class Known:
    """A global of the table: its name and, where it may be called, our function for it."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[..., Any] | None = None) -> None:
        self.name, self.call = name, call

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Unfinished:
    """An object of ours that waits for its BUILD state."""

    def build(self, state: Any) -> Any:
        """The finished object, or None to stay as it is.

        Raises:
            ValueError, TypeError: the state is not what the object needs.
        """
        raise NotImplementedError


class Refused(Exception):
    """Raised by a function of the table for arguments that it does not serve: a placeholder takes its place."""


_PLAIN_KEYS = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, Placeholder, Known)


def hashable(key: Any, depth: int = 0) -> Any:
    """The key itself, once it is sure that hashing and comparing it runs nothing and ends.

    Raises:
        PickleDamage: it is not a plain value or a shallow tuple of them.
    """
    if isinstance(key, (tuple, frozenset)) and depth < KEY_DEPTH:
        for part in key:
            hashable(part, depth + 1)
    elif not isinstance(key, _PLAIN_KEYS):
        raise PickleDamage(f"a {type(key).__name__} as a dictionary key")
    return key
