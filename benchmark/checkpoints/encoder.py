"""Finding the encoder in an opened checkpoint: which entry, under which prefix, and what else the file holds."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from benchmark.checkpoints.archive import Archive
from benchmark.checkpoints.candidates import Candidate, Collected, collections_of, copies_of, find_candidates, kind_of
from benchmark.checkpoints.family import family_of
from benchmark.checkpoints.layout import DropRule, Layout
from benchmark.checkpoints.layouts import GENERIC, known, rules
from benchmark.checkpoints.placeholder import Placeholder
from benchmark.checkpoints.storage import LazyTensor
from benchmark.errors import CheckpointError, nearest

SHOWN = 6  # candidates and keys named in a message


@dataclass(frozen=True)
class Dropped:
    """A tensor or entry that is left out, by its name in the file, and why."""

    key: str
    reason: str
    kind: str = "other"


@dataclass(frozen=True)
class Encoder:
    """The tensors of the chosen encoder and what became of everything else in the file.

    Attributes:
        state: tensors by name, prefix removed, under the names and in the shapes that the layout gives them.
        key: where they are, as `--key` takes it (`state_dict.module.encoder_q`); empty for a plain state dict.
        wrapper: the entry part of `key` (`state_dict`).
        prefix: the part inside the state dict (`module.encoder_q.`).
        layout: the name of the layout used, or `generic`.
        recognised: the layout was found, not asked for.
        trained_without_labels: its heads are projections of the training method, not classifiers.
        dropped: tensors beside the encoder, with reasons.
        strays: tensors beside the encoder for which there is no reason to drop them.
        ignored: other entries of the file and what they are.
        others: the encoders that were not chosen, as `--key` takes them.
        possible: layouts that such a file may be of, where nothing in it decides.
        drops: the layout's own rules for tensors within the encoder, asked before the common ones.
    """

    state: dict[str, Tensor]
    key: str
    wrapper: str
    prefix: str
    layout: str
    recognised: bool = False
    trained_without_labels: bool = False
    dropped: tuple[Dropped, ...] = ()
    strays: tuple[str, ...] = ()
    ignored: tuple[Dropped, ...] = ()
    others: tuple[str, ...] = ()
    possible: tuple[str, ...] = ()
    drops: tuple[DropRule, ...] = field(default=(), repr=False)


def find_encoder(
    archive: Archive, layout: str | None = None, key: str | None = None, expected: AbstractSet[str] | None = None
) -> Encoder:
    """The one encoder of the file, or the one asked for.

    Args:
        archive: the opened file.
        layout: a layout's name (`--layout`).
        key: the encoder's dotted place, or enough of it to be the only one (`--key`).
        expected: the names of the architecture's tensors. With them a prefix is recognised by what lies under it, so
            that a network whose own first module is called `model` keeps it; without them, by its name.

    Raises:
        CheckpointError: no tensors, several encoders and no choice, a choice that the file does not have, or a file
            that is not of the layout.
    """
    found = collections_of(archive.tree)
    if not found:
        raise _no_tensors(archive)
    family, possible = family_of(archive, found, layout)
    candidates = find_candidates(found, None if family and family.moves else expected)
    chosen = _choose(archive, candidates, found, key, family)
    encoder = _take(archive, chosen, candidates, found, family, explicit=key is not None)
    recognised = family is not None and layout is None
    return replace(_moved(encoder, family, expected), recognised=recognised, possible=possible)


def _moved(encoder: Encoder, family: Layout | None, expected: AbstractSet[str] | None) -> Encoder:
    """The encoder with the names and shapes that its layout gives it.

    Not where an architecture was asked for that has the file's own names: then it is the authors' code.
    """
    if family is None or not family.moves:
        return encoder
    state: dict[str, Tensor] = {}
    for name, tensor in encoder.state.items():
        short = name
        for rename in family.renames:
            short = rename.apply(short)
        if short in state:
            raise CheckpointError(
                "different names for different tensors",
                f"two tensors called {short} after renaming",
                "check the layout's renames",
            )
        state[short] = tensor
    for change in family.changes:
        state = change.apply(state)
    if expected is not None and len(expected & encoder.state.keys()) > len(expected & state.keys()):
        return encoder
    return replace(encoder, state=state)


def _choose(
    archive: Archive, candidates: list[Candidate], found: list[Collected], key: str | None, family: Layout | None
) -> Candidate:
    wanted = [key] if key is not None else list(family.encoder) if family and family.encoder else []
    for name in wanted:
        exact = [c for c in candidates if c.key == name] or [c for c in candidates if _within(name, c.key)]
        if not exact:
            exact = [Candidate(c, prefix) for c in found if (prefix := c.prefix_of(name)) is not None]
        if exact:
            candidates = exact
            break
    else:
        if wanted:
            raise CheckpointError(
                f"tensors under {' or '.join(wanted)}",
                f"{archive.path.name} with {_listed(candidates)}",
                nearest(wanted[0], [c.key for c in candidates]),
            )
    if len(candidates) > 1:
        layouts = "" if family else _layouts_with([c.key for c in candidates])
        raise CheckpointError(
            "one encoder", f"{len(candidates)} in {archive.path.name}", f"choose by {_listed(candidates)}{layouts}"
        )
    return candidates[0]


def _layouts_with(keys: list[str]) -> str:
    """The layouts that would choose one of these encoders, as the end of a message."""
    fitting = [
        layout.name
        for layout in known().values()
        if any(sum(_within(name, key) for key in keys) == 1 for name in layout.encoder)
    ]
    return f", or --layout {' or '.join(fitting[:SHOWN])} if it is one of these" if fitting else ""


def _within(part: str, whole: str) -> bool:
    return f".{part}." in f".{whole}."


def _listed(candidates: list[Candidate]) -> str:
    shown = [f"--key {c.key or '(the file itself)'} ({len(c.names)} tensors)" for c in candidates[:SHOWN]]
    return ", ".join(shown) + (f" and {len(candidates) - SHOWN} more" if len(candidates) > SHOWN else "")


def _take(
    archive: Archive,
    chosen: Candidate,
    candidates: list[Candidate],
    found: list[Collected],
    family: Layout | None,
    explicit: bool,
) -> Encoder:
    home, prefix = chosen.home, chosen.prefix
    # A candidate that the chosen one lies in is no other encoder.
    rivals = [c for c in candidates if c is not chosen and not (c.home is home and prefix.startswith(c.prefix))]
    if explicit or (family and family.encoder):  # somebody chose: every other copy was not, under whatever name
        known = {(c.home.path, c.prefix) for c in rivals}
        rivals += [c for c in copies_of(chosen) if (c.home.path, c.prefix) not in known]
    dropped, strays = [], []
    for name in home.tensors:
        if name.startswith(prefix):
            continue
        reason = _beside(name, chosen, [c for c in rivals if c.home is home], family)
        if reason:
            dropped.append(reason)
        elif explicit:
            dropped.append(Dropped(name, f"outside of the chosen --key {chosen.key}"))
        else:
            strays.append(name)
    dropped += [Dropped(name, f"not a tensor ({kind})") for name, kind in home.others.items()]
    state: dict[str, Tensor] = {}
    for name, value in home.tensors.items():
        if not name.startswith(prefix):
            continue
        state[name.removeprefix(prefix)] = _load(archive, name, value)
    return Encoder(
        state=state,
        key=chosen.key,
        wrapper=".".join(home.path),
        prefix=prefix,
        layout=family.name if family else GENERIC,
        trained_without_labels=chosen.unlabelled
        or bool(family and family.trained_without_labels)
        or any(drop.kind in ("projector", "predictor", "queue") for drop in dropped),
        dropped=tuple(dropped),
        strays=tuple(strays),
        ignored=_ignored(archive, chosen, rivals, found),
        others=tuple(c.key for c in rivals),
        drops=family.drops if family else (),
    )


def _load(archive: Archive, name: str, value: LazyTensor | Placeholder) -> Tensor:
    if isinstance(value, LazyTensor):
        return value.load()
    raise CheckpointError(
        "dense tensors",
        f"{name} in {archive.path.name} is kept as {value.qualname} (quantised, sparse or of an unknown class)",
        "save it dequantised and dense",
    )


def _beside(name: str, chosen: Candidate, rivals: list[Candidate], family: Layout | None) -> Dropped | None:
    for rival in rivals:
        if name.startswith(_branch_of(rival, chosen)):
            return Dropped(name, f"another encoder of the file ({rival.key}), not chosen", "encoder")
    for parent, segment in chosen.parents():
        if name.startswith(parent):
            relative = name.removeprefix(parent)
            rule = rules().drop(relative, beside=(segment,), first=family.drops if family else ())
            if rule:
                return Dropped(name, rule.reason, rule.kind)
    return None


def _branch_of(rival: Candidate, chosen: Candidate) -> str:
    """The module that holds a rival and its heads, but not the chosen encoder: where their prefixes part."""
    mine, theirs = chosen.prefix.split("."), rival.prefix.split(".")
    shared = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), len(mine))
    return "".join(f"{part}." for part in theirs[: shared + 1] if part)


def _ignored(
    archive: Archive, chosen: Candidate, rivals: list[Candidate], found: list[Collected]
) -> tuple[Dropped, ...]:
    """Every entry on the way to the chosen state dict that was passed by."""
    ignored: list[Dropped] = []
    node: Any = archive.tree
    way: tuple[str, ...] = ()
    for step in chosen.home.path:
        for name, value in node.items():
            if name != step:
                place = (*way, str(name))
                ignored.append(Dropped(".".join(place), _what(place, value, rivals, found)))
        node, way = node[step], (*way, step)
    return tuple(ignored)


def _what(place: tuple[str, ...], value: Any, rivals: list[Candidate], found: list[Collected]) -> str:
    inside = [rival.key for rival in rivals if rival.home.path[: len(place)] == place]
    if inside:
        return f"another encoder of the file ({inside[0]}), not chosen"
    named = rules().entry(place[-1])
    if named:
        return named
    if any(collected.path[: len(place)] == place for collected in found):
        return "tensors, not known to be an encoder"
    return kind_of(value)


def _no_tensors(archive: Archive) -> CheckpointError:
    tree = archive.tree
    held = ", ".join(str(key)[:40] for key in list(tree)[:SHOWN]) if isinstance(tree, dict) else kind_of(tree)
    if isinstance(tree, Placeholder):
        held = f"an object of the class {tree.qualname}, which is never run"
    return CheckpointError(
        "named tensors", f"none in {archive.path.name} (it holds {held or 'nothing'})", "save the model's state_dict()"
    )
