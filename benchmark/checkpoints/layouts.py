"""What is known about how checkpoints store an encoder: `rules.yaml`, the families, and those of other packages.

A package adds families under the entry-point group `transferbench.layouts`: each entry is a `Layout`, a mapping of its
fields, or a list of these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from benchmark.checkpoints.layout import Facts, Layout, Rules
from benchmark.errors import CheckpointError, nearest

GROUP = "transferbench.layouts"
GENERIC = "generic"  # what a file is said to be of that no layout knows


@lru_cache(maxsize=1)
def rules() -> Rules:
    """The rules for every file."""
    return Rules.model_validate(_read("rules.yaml")["rules"])


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(files("benchmark.checkpoints").joinpath(name).read_text("utf-8")))


def _shipped() -> Iterator[tuple[Mapping[str, Any], str]]:
    folder = files("benchmark.checkpoints").joinpath("families")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            for item in yaml.safe_load(entry.read_text("utf-8"))["layouts"]:
                yield item, f"families/{entry.name}"


def _installed() -> Iterator[tuple[Mapping[str, Any], str]]:
    for point in entry_points(group=GROUP):
        loaded = point.load()
        for item in [loaded] if isinstance(loaded, (Layout, Mapping)) else loaded:
            fields = item.model_dump(exclude_unset=True) if isinstance(item, Layout) else item
            yield fields, f"entry point {point.name} ({point.value})"


@lru_cache(maxsize=1)
def known() -> dict[str, Layout]:
    """Every layout by name: the shipped ones, then those that installed packages bring.

    Raises:
        CheckpointError: a package brings something else than layouts, a name that is taken, or `like` of none.
    """
    stated: dict[str, Mapping[str, Any]] = {}
    found: dict[str, Layout] = {}
    for fields, place in (*_shipped(), *_installed()):
        name = fields.get("name", "") if isinstance(fields, Mapping) else ""
        if name in stated:
            raise CheckpointError(
                "layouts of different names", f"a second {name!r} from {place}", "rename or remove that package"
            )
        base = fields.get("like") if isinstance(fields, Mapping) else None
        if base and base not in stated:
            raise CheckpointError("`like` of a layout above it", f"{base!r} in {name!r} from {place}", "correct it")
        whole = {**(stated[base] if base else {}), **fields} if isinstance(fields, Mapping) else fields
        try:
            found[name] = Layout.model_validate(whole)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise CheckpointError(
                "layouts", f"{name or 'one'} from {place}: {where}: {first['msg']}", "fix or remove that package"
            ) from error
        stated[name] = whole
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


def facts(name: str) -> Facts:
    """What a layout says about its architecture; nothing for `generic`."""
    return Facts() if name == GENERIC else get(name).architecture


def recognise(
    entries: Collection[str], keys: Mapping[str, Sequence[int]] | Collection[str], certain: bool = True
) -> list[Layout]:
    """The layouts that a file with these entries and tensors is of, those that another is preferred to left out.

    `certain` leaves out those whose files might be of another family too.
    """
    fitting = [
        layout
        for layout in known().values()
        if (layout.recognise.entries or layout.recognise.keys) and layout.recognise.matches(entries, keys)
        if not certain or layout.recognise.is_certain(entries, keys)
    ]
    beaten = {name for layout in fitting for name in layout.over}
    return [layout for layout in fitting if layout.name not in beaten]
