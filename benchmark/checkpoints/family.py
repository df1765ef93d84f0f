"""Which family a file is of: the layout asked for, or the one that its entries and tensors are recognised as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.checkpoints.archive import Archive
from benchmark.checkpoints.candidates import Collected
from benchmark.checkpoints.folders import facts_of
from benchmark.checkpoints.layout import Layout
from benchmark.checkpoints.layouts import GENERIC, get, recognise
from benchmark.checkpoints.placeholder import Placeholder
from benchmark.checkpoints.storage import LazyTensor
from benchmark.errors import CheckpointError

SETTINGS = ("args", "croco_kwargs")  # entries with arguments, by which layouts are recognised


def family_of(archive: Archive, found: list[Collected], layout: str | None) -> tuple[Layout | None, tuple[str, ...]]:
    """The layout asked for, or the one that the file is recognised as; None, and those that it may be of, where
    nothing decides.

    Args:
        archive: the opened file.
        found: its dictionaries of tensors.
        layout: a layout's name (`--layout`), `generic` for none; None to recognise it.

    Raises:
        CheckpointError: several layouts fit and differ, or the file is not of the one asked for.
    """
    if layout == GENERIC:
        return None, ()
    entries = [key for key in archive.tree if isinstance(key, str)] if isinstance(archive.tree, dict) else []
    entries += facts_of(archive.config)
    for entry in SETTINGS:
        entries += facts_of(_arguments(archive.tree, entry), entry)
    names = {
        ".".join((*c.path, name)): tuple(value.shape) if isinstance(value, LazyTensor) else ()
        for c in found
        for name, value in c.tensors.items()
    }
    if layout is None:
        fitting = recognise(entries, names)
        if len(fitting) > 1 and any(_says(other) != _says(fitting[0]) for other in fitting):
            shown = " or ".join(other.name for other in fitting)
            raise CheckpointError(
                "one layout", f"{archive.path.name} looks like {shown}", f"choose by --layout, or --layout {GENERIC}"
            )
        if fitting:
            return fitting[0], ()
        return None, tuple(other.name for other in recognise(entries, names, certain=False))
    family = get(layout)
    wanted = family.recognise
    if (wanted.entries or wanted.keys) and not wanted.matches(entries, names):
        near = [other.name for other in recognise(entries, names, certain=False)]
        todo = f"it looks like --layout {' or '.join(near)}" if near else "leave --layout out, or see `list layouts`"
        raise CheckpointError(f"a checkpoint of the layout {layout}", f"{archive.path.name} without its entries", todo)
    return family, ()


def _arguments(tree: Any, entry: str) -> Mapping[str, Any]:
    """The arguments of the training run or of its network, where the script saved them."""
    arguments = tree.get(entry) if isinstance(tree, dict) else None
    if isinstance(arguments, Placeholder):
        return arguments.attributes
    return (
        {key: value for key, value in arguments.items() if isinstance(key, str)} if isinstance(arguments, dict) else {}
    )


def _says(layout: Layout) -> tuple[object, ...]:
    """What of a layout changes what is loaded."""
    return (
        layout.encoder, layout.renames, layout.changes, layout.drops, layout.architecture, dict(layout.preprocessing),
        layout.trained_without_labels,
    )  # fmt: skip
