"""Where in a checkpoint's tree encoders may lie: state dicts, and prefixes inside them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from benchmark.checkpoints.layouts import rules
from benchmark.checkpoints.placeholder import Placeholder
from benchmark.checkpoints.storage import LazyTensor
from benchmark.errors import CheckpointError

DEPTH = 6  # of entries within entries; VISSL's deepest trunk is at four
HALF = 0.5  # of the architecture's names must lie under a prefix for it to be the encoder's
RIVAL = 0.9  # of the best prefix's share makes another one a rival
# How torch rebuilds tensors that are not dense and plain: they must not be taken for settings.
_TENSOR_LIKE = re.compile(r"^(torch\._utils\._rebuild_\w+|safetensors\.\w+)$")


@dataclass(frozen=True, eq=False)
class Collected:
    """A dictionary of the tree that holds tensors.

    Attributes:
        path: the keys that lead to it.
        tensors: its tensors (and tensors of unsupported kinds) by name, after the common renames.
        others: its other values by name, in words.
    """

    path: tuple[str, ...]
    tensors: dict[str, LazyTensor | Placeholder]
    others: dict[str, str] = field(default_factory=dict)

    def prefix_of(self, key: str) -> str | None:
        """The prefix inside this state dict that the dotted `key` names, None when it names none."""
        place = ".".join(self.path)
        if place and key != place and not key.startswith(f"{place}."):
            return None
        rest = key.removeprefix(place).strip(".")
        prefix = f"{rest}." if rest else ""
        return prefix if any(name.startswith(prefix) for name in self.tensors) else None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A possible encoder: the tensors of `home` whose names begin with `prefix`."""

    home: Collected
    prefix: str

    @property
    def key(self) -> str:
        """Its dotted name, as `--key` takes it."""
        return ".".join((*self.home.path, self.prefix)).strip(".")

    @cached_property
    def names(self) -> list[str]:
        """Its tensors' names, prefix removed."""
        return [name.removeprefix(self.prefix) for name in self.home.tensors if name.startswith(self.prefix)]

    @property
    def unlabelled(self) -> bool:
        """Whether a name on the way says that it was trained without labels (student, encoder_q, ...)."""
        branches = [rules().branch(part) for part in (*self.home.path, *self.prefix.split("."))]
        return any(branch is not None and branch.trained_without_labels for branch in branches)

    def parents(self) -> list[tuple[str, str]]:
        """The prefixes above this one, innermost first, each with the segment that leads on towards the encoder."""
        parts = self.prefix.split(".")[:-1]
        return [("".join(f"{part}." for part in parts[:i]), parts[i]) for i in reversed(range(len(parts)))]


def collections_of(tree: Any) -> list[Collected]:
    """The innermost dictionaries with tensors in them, optimiser state and the like left out."""
    found: list[Collected] = []

    def visit(node: Any, path: tuple[str, ...]) -> bool:
        if not isinstance(node, dict) or len(path) > DEPTH:
            return False
        before = len(found)
        names = {key: value for key, value in node.items() if isinstance(key, str)}
        for key, value in names.items():
            record = {} if _is_other(key) else modules_of(value)
            if record:
                found.append(Collected((*path, key), _renamed(record)))
        if len(found) > before:
            return True
        inside = [
            visit(value, (*path, key)) for key, value in names.items() if isinstance(value, dict) and not _is_other(key)
        ]
        tensors = {key: value for key, value in names.items() if is_tensor(value)}
        if any(inside) or not any(isinstance(value, LazyTensor) for value in tensors.values()):
            return any(inside)
        found.append(
            Collected(
                path, _renamed(tensors), {key: kind_of(value) for key, value in names.items() if key not in tensors}
            )
        )
        return True

    visit(tree, ())
    return found


def modules_of(value: Any) -> dict[str, LazyTensor]:
    """The tensors of a tree as Haiku writes it, under one name each; empty where the value is none.

    Haiku keeps a dictionary of leaves for each module, and names modules by paths: `{"net/~/conv": {"w": ...}}`, which
    becomes `net/~/conv.w`. Its trainers keep several of these (parameters, states) in a named tuple, whose fields are
    numbered here (`0.net/~/conv.w`): a pickle of one has no names of them.
    """
    parts = _parts(value)
    if parts is None:
        return {}
    if any("/" in name for name in parts):
        leaves = {name: _parts(inner) for name, inner in parts.items()}
        return {
            f"{name}.{leaf}": tensor
            for name, inner in leaves.items()
            for leaf, tensor in (inner or {}).items()
            if isinstance(tensor, LazyTensor)
        }
    if isinstance(value, Placeholder):
        return {
            f"{field}.{name}": tensor for field, inner in parts.items() for name, tensor in modules_of(inner).items()
        }
    return {}


def _parts(value: Any) -> dict[str, Any] | None:
    """The entries of a dictionary, of an immutable one of another library, or of a named tuple (by number)."""
    if isinstance(value, dict):
        return {key: entry for key, entry in value.items() if isinstance(key, str)}
    if not isinstance(value, Placeholder) or not value.called or is_tensor(value):
        return None
    if len(value.args) == 1 and isinstance(value.args[0], dict):
        return _parts(value.args[0])
    return {str(number): entry for number, entry in enumerate(value.args)}


def _is_other(name: str) -> bool:
    return rules().entry(name) is not None and not rules().is_wrapper(name)


def is_tensor(value: Any) -> bool:
    """Whether the value is a tensor, be it of a kind that cannot be read."""
    return isinstance(value, LazyTensor) or (
        isinstance(value, Placeholder) and bool(_TENSOR_LIKE.match(value.qualname))
    )


def kind_of(value: Any) -> str:
    """A few words on a value of the tree, for people."""
    if isinstance(value, LazyTensor):
        return f"a tensor {value.shape}"
    if isinstance(value, Placeholder):
        return value.qualname
    if isinstance(value, (dict, list, tuple, set)):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def _renamed(tensors: dict[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for key, value in tensors.items():
        name = key
        for rename in rules().renames:
            name = rename.apply(name)
        if name in renamed:
            raise CheckpointError(
                "one tensor of each name",
                f"{name} twice, once as {key}",
                "save the model without its compile or FSDP wrapper",
            )
        renamed[name] = value
    return renamed


def find_candidates(found: list[Collected], expected: Collection[str] | None = None) -> list[Candidate]:
    """The possible encoders: by what the architecture expects where that is known, else by the names of modules."""
    evident = _by_evidence(found, expected) if expected else []
    if evident:
        return evident
    held = [c for c in found if not c.path or rules().is_wrapper(c.path[-1])] or found
    return [Candidate(home, prefix) for home in held for prefix in _by_names(home)]


def copies_of(chosen: Candidate) -> list[Candidate]:
    """The other places of a state dict that hold an encoder of the chosen one's tensors, whatever they are called."""
    inside = [c for c in _by_evidence([chosen.home], chosen.names) if not c.prefix.startswith(chosen.prefix)]
    return [c for c in inside if not chosen.prefix.startswith(c.prefix)]


def _by_evidence(found: list[Collected], expected: Collection[str]) -> list[Candidate]:
    names = {name for name in expected if not name.endswith("num_batches_tracked")}
    scored: list[tuple[int, Candidate]] = []
    for home in found:
        hits: Counter[str] = Counter()
        for name in home.tensors:
            at = 0
            while True:
                if name[at:] in names:
                    hits[name[:at]] += 1
                dot = name.find(".", at)
                if dot < 0:
                    break
                at = dot + 1
        scored += [(count, Candidate(home, prefix)) for prefix, count in hits.items() if count >= HALF * len(names)]
    best = max((count for count, _ in scored), default=0)
    return [candidate for count, candidate in scored if count >= RIVAL * best]


def _by_names(home: Collected) -> list[str]:
    """Prefixes reached by entering modules that wrap an encoder, while all beside them has a reason to be dropped."""
    ready, prefixes = [""], []
    while ready:
        prefix = ready.pop(0)
        names = [name.removeprefix(prefix) for name in home.tensors if name.startswith(prefix)]
        modules = list(dict.fromkeys(name.partition(".")[0] for name in names if "." in name))
        branches = [module for module in modules if rules().branch(module)]
        beside = [name for name in names if name.partition(".")[0] not in branches]
        if branches and all(rules().drop(name, beside=branches) for name in beside):
            ready += [f"{prefix}{branch}." for branch in branches]
        else:
            prefixes.append(prefix)
    return prefixes
