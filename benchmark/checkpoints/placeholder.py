"""What stands in a checkpoint's tree for everything that is neither a tensor nor a plain container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Placeholder:
    """An object or a global that the file names and that was not made: a record, which nothing can call.

    Attributes:
        qualname: `module.name` as the file spells it.
        called: False for the bare global, True for what the file wanted made from it.
        args: what it would have been called with.
        state: what `__setstate__` or `__dict__` would have received (the last, where the file gives several).
        items: entries that would have been set (`object[key] = value`).
        elements: entries that would have been appended or added.
    """

    __slots__ = ("args", "called", "elements", "items", "qualname", "state")

    def __init__(self, qualname: str, *, called: bool = False, args: tuple[Any, ...] = ()) -> None:
        self.qualname, self.called, self.args = qualname, called, args
        self.state: Any = None
        self.items: dict[Any, Any] = {}
        self.elements: list[Any] = []

    def __repr__(self) -> str:
        return f"<placeholder {self.qualname}>"  # never the arguments: they may be deep, huge or cyclic

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The instance dictionary that the file holds for the object, as far as it has the usual form."""
        state = self.state[0] if isinstance(self.state, tuple) and len(self.state) == 2 else self.state
        return {key: value for key, value in state.items() if isinstance(key, str)} if isinstance(state, dict) else {}


@dataclass(frozen=True)
class PlaceholderNote:
    """A foreign class or function that a file refers to.

    Attributes:
        name: `module.name`.
        count: how many times the file calls it or, where it never does, names it.
        where: the first place in the tree that holds one (`args`, `optimizer.state`), empty where none is kept.
    """

    name: str
    count: int
    where: str
