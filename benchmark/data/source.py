"""Sources by name: `KIND:REST?key=value` to a `Dataset`, through the entry-point group `transferbench.sources`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic
from urllib.parse import unquote

from benchmark.data.dataset import Collection, Dataset
from benchmark.data.options import AnyOptions, describe, parse
from benchmark.errors import DataError, nearest

GROUP = "transferbench.sources"


@dataclass(frozen=True)
class SourceSpec:
    """A source as written, taken apart.

    Attributes:
        kind: what stands before the first colon (`folder`).
        rest: what it points at (a path, a glob, a name; may be empty).
        options: the `key=value` pairs after the `?`, values percent-decoded.
        text: the whole, as written.
    """

    kind: str
    rest: str
    options: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Source(Generic[AnyOptions]):
    """A kind of source; an entry point in `transferbench.sources` names one.

    Attributes:
        usage: how it is written (`folder:PATH`).
        summary: one line for `list sources`.
        options: its typed options.
        open: gives the dataset for (the user's name, the spec, the options).
        collect: gives images that nothing is learned from; None where they are the reported split of `open`.
    """

    usage: str
    summary: str
    options: type[AnyOptions]
    open: Callable[[str, SourceSpec, AnyOptions], Dataset]
    collect: Callable[[str, SourceSpec, AnyOptions], Collection] | None = None


@dataclass(frozen=True)
class SourceInfo:
    """A kind of source for `list sources`.

    Attributes:
        kind: as written before the colon.
        usage: how it is written.
        summary: one line.
        options: option -> default.
        missing: why it cannot be used here (a library is not installed), or None.
    """

    kind: str
    usage: str
    summary: str
    options: Mapping[str, str]
    missing: str | None = None


def parse_source(text: str) -> SourceSpec:
    """Takes a source apart.

    The options begin at the first `?` that a key and `=` follow, so a glob may contain `?` too. `&` separates
    options; in a value it is written `%26`.

    Raises:
        DataError: no kind, or an option without a value or given twice.
    """
    kind, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][\w-]*", kind):
        raise DataError("a source such as folder:PATH or scenes:", repr(text), f"did you mean folder:{text}?")
    start = re.search(r"\?(?=[A-Za-z_]\w*=)", rest)
    tail = rest[start.end() :] if start else ""
    rest = rest[: start.start()] if start else rest.removesuffix("?")
    options: dict[str, str] = {}
    for pair in filter(None, tail.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or key in options:
            problem = "given twice" if equals else "without a value"
            raise DataError(
                "options as key=value", f"{key!r} {problem} in {text!r}", "write each option once, with a value"
            )
        options[key] = unquote(value)
    return SourceSpec(kind, rest, options, text)


def _load(point: EntryPoint) -> Source[Any]:
    source = point.load()
    if not isinstance(source, Source):
        raise DataError(
            "an entry point that names a Source",
            f"{point.value} ({type(source).__name__})",
            f"correct {GROUP} {point.name!r}",
        )
    return source


def open_source(name: str, text: str) -> Dataset:
    """Opens the source `text` as the dataset `name`.

    Raises:
        DataError: unknown kind (names the nearest) or option, or data that is not what it should be.
    """
    source, spec = _source_of(text)
    return source.open(name, spec, parse(source.options, spec.options, text))


def open_collection(name: str, text: str) -> Collection:
    """Opens the source `text` for images that nothing is learned from: what it collects, or its reported split.

    Raises:
        DataError: as `open_source`, or images without a class.
    """
    source, spec = _source_of(text)
    options = parse(source.options, spec.options, text)
    if source.collect is not None:
        return source.collect(name, spec, options)
    dataset = source.open(name, spec, options)
    if not dataset.classes:
        raise DataError("images of known classes", f"none in {text!r}", "use another source")
    return Collection(dataset.splits[dataset.reported], dataset.classes, dataset.multilabel, dataset.notices)


def _source_of(text: str) -> tuple[Source[Any], SourceSpec]:
    spec = parse_source(text)
    points = {point.name: point for point in entry_points(group=GROUP)}
    if spec.kind not in points:
        raise DataError("a known kind of source", f"{spec.kind!r} in {text!r}", nearest(spec.kind, points))
    return _load(points[spec.kind]), spec


def list_sources() -> list[SourceInfo]:
    """Every kind of source that is installed, in alphabetical order."""
    listed = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            source = _load(point)
        except ImportError as error:
            listed.append(SourceInfo(point.name, f"{point.name}:", "not usable here", {}, missing=str(error)))
            continue
        listed.append(SourceInfo(point.name, source.usage, source.summary, describe(source.options)))
    return listed
