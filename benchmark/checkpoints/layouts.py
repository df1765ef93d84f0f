"""What is known about how checkpoints store an encoder: the rules of `layouts.yaml` and those of other packages.

A package adds families under the entry-point group `transferbench.layouts`: each entry is a `Layout` or a list of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from benchmark.errors import CheckpointError, nearest

GROUP = "transferbench.layouts"
Kind = Literal["counter", "buffer", "head", "projector", "predictor", "decoder", "queue", "loss", "text", "other"]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rename(_Entry):
    """A substitution in every key."""

    pattern: Pattern
    replace: str

    def apply(self, key: str) -> str:
        """The key under its new name."""
        return re.sub(self.pattern, self.replace, key)


class EntryRule(_Entry):
    """What an entry of a training checkpoint is, when it is no encoder."""

    pattern: Pattern
    reason: str


class Branch(_Entry):
    """A module that wraps or is an encoder; heads under `trained_without_labels` ones are no classifiers."""

    pattern: Pattern
    trained_without_labels: bool = False


class DropRule(_Entry):
    """Tensors that may be left out, with the reason; `beside` a module of that name only, where given."""

    kind: Kind = "other"
    pattern: Pattern
    reason: str
    beside: Pattern | None = None


class Rules(_Entry):
    """The rules for every file."""

    renames: tuple[Rename, ...] = ()
    wrappers: tuple[Pattern, ...] = ()
    entries: tuple[EntryRule, ...] = ()
    branches: tuple[Branch, ...] = ()
    drops: tuple[DropRule, ...] = ()

    def is_wrapper(self, name: str) -> bool:
        """Whether an entry of this name is known to hold weights."""
        return any(re.search(pattern, name) for pattern in self.wrappers)

    def entry(self, name: str) -> str | None:
        """What a known entry without weights is."""
        return next((rule.reason for rule in self.entries if re.search(rule.pattern, name)), None)

    def branch(self, segment: str) -> Branch | None:
        """The rule under which a module of this name is an encoder or a wrapper of one."""
        return next((branch for branch in self.branches if re.search(branch.pattern, segment)), None)

    def drop(self, key: str, beside: Iterable[str] = (), first: Iterable[DropRule] = ()) -> DropRule | None:
        """The rule that lets a tensor of this name (from the encoder's root, or beside it) be left out.

        Args:
            key: the name, relative to the encoder or to the module that holds it.
            beside: the modules next to it.
            first: rules that are asked before the common ones.
        """
        names = tuple(beside)
        for rule in (*first, *self.drops):
            if re.search(rule.pattern, key) and (rule.beside is None or any(re.search(rule.beside, n) for n in names)):
                return rule
        return None


class Recognise(_Entry):
    """What a file of a family has: top-level entries and dotted tensor names, all of which must occur."""

    entries: tuple[Pattern, ...] = ()
    keys: tuple[Pattern, ...] = ()

    def matches(self, entries: Iterable[str], keys: Iterable[str]) -> bool:
        """Whether every pattern finds something."""
        top, names = list(entries), list(keys)
        return all(any(re.search(pattern, name) for name in top) for pattern in self.entries) and all(
            any(re.search(pattern, name) for name in names) for pattern in self.keys
        )


class Layout(_Entry):
    """How a family of checkpoints stores its encoder.

    Attributes:
        name: what `--layout` takes.
        summary: one line for `list layouts`.
        source: the code or page that the entry was read from.
        recognise: what such a file has.
        encoder: which of the file's encoders to take: dotted name parts, the first that exists.
        renames: substitutions in the encoder's keys, in order, after the prefix is gone.
        drops: tensors left out of this family beyond the common rules; asked first.
        trained_without_labels: its heads are projections, not classifiers.
        preprocessing: what the family's images go through, as `--preprocess` takes it.
        quirks: traps worth a line to whoever loads it.
    """

    name: str
    summary: str
    source: str
    recognise: Recognise = Recognise()
    encoder: tuple[str, ...] = ()
    renames: tuple[Rename, ...] = ()
    drops: tuple[DropRule, ...] = ()
    trained_without_labels: bool = False
    preprocessing: Mapping[str, Any] = {}
    quirks: tuple[str, ...] = ()


class _File(_Entry):
    rules: Rules
    layouts: tuple[Layout, ...]


@lru_cache(maxsize=1)
def _shipped() -> _File:
    text = files("benchmark.checkpoints").joinpath("layouts.yaml").read_text("utf-8")
    return _File.model_validate(yaml.safe_load(text))


def rules() -> Rules:
    """The rules for every file."""
    return _shipped().rules


def known() -> dict[str, Layout]:
    """Every layout by name: the shipped ones, then those that installed packages bring.

    Raises:
        CheckpointError: a package brings something else than layouts, or a name that is taken.
    """
    found = {layout.name: layout for layout in _shipped().layouts}
    for point in entry_points(group=GROUP):
        loaded = point.load()
        for item in [loaded] if isinstance(loaded, (Layout, Mapping)) else loaded:
            try:
                layout = item if isinstance(item, Layout) else Layout.model_validate(item)
            except ValidationError as error:
                raise CheckpointError(
                    "layouts",
                    f"entry point {point.name} ({point.value}): {error.errors()[0]['msg']}",
                    "fix or remove that package",
                ) from error
            if layout.name in found:
                raise CheckpointError(
                    "layouts of different names",
                    f"a second {layout.name!r} from {point.value}",
                    "rename or remove that package",
                )
            found[layout.name] = layout
    return found


def get(name: str) -> Layout:
    """The layout of that name.

    Raises:
        CheckpointError: there is none.
    """
    layouts = known()
    if name not in layouts:
        raise CheckpointError("a known layout", f"--layout {name}", nearest(name, layouts))
    return layouts[name]
