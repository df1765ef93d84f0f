"""Opening a file of weights: any supported format in, one tree of plain containers and lazy tensors out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.checkpoints.folders import Folder, read_folder
from benchmark.checkpoints.formats import recognise, refuse
from benchmark.checkpoints.modules import module_state
from benchmark.checkpoints.placeholder import Placeholder, PlaceholderNote
from benchmark.checkpoints.storage import LazyTensor
from benchmark.checkpoints.tensorfiles import join, read_index, read_npz, read_safetensors
from benchmark.checkpoints.torchfile import Unpickled, read_legacy, read_pickle, read_zip

CHUNK = 1 << 22  # bytes per read while hashing


@dataclass(frozen=True)
class Archive:
    """A checkpoint file after opening. Nothing in it can run; no tensor has been read yet.

    Attributes:
        path: the file (the index, where there are shards).
        format: `torch-zip`, `torchscript`, `torch-legacy`, `pickle`, `safetensors`, `npz`, `sharded`.
        sha256: of the file; of the names and digests of all files, where there are shards.
        size: bytes, shards included.
        tree: what the file holds: dicts, lists, plain values, `LazyTensor`, `Placeholder`.
        placeholders: every foreign class and function that the file names.
        metadata: safetensors' own `__metadata__`; empty for other formats.
        config: what the configuration beside the weights says, where a folder was given.
        pixels, pixels_source: what images go through, as a layout's `preprocessing` says it, and the file of the folder
            that says so; empty where none does.
    """

    path: Path
    format: str
    sha256: str
    size: int
    tree: Any
    placeholders: tuple[PlaceholderNote, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    pixels: Mapping[str, Any] = field(default_factory=dict)
    pixels_source: str = ""


def open_archive(path: Path) -> Archive:
    """Reads a checkpoint without executing anything that it contains.

    Args:
        path: a file, or a folder of weights and their configuration.

    Raises:
        CheckpointError: missing, any other folder, empty, cut short, damaged, contradictory, or of a format that is not
            read.
    """
    try:
        folder = read_folder(path) if path.is_dir() else None
        return _open(path) if folder is None else _described(_open(folder.weights), path, folder)
    except OSError as error:
        raise refuse(
            path, f"cannot be read ({error.strerror or error})", "check the path and its permissions"
        ) from error


def _described(archive: Archive, path: Path, folder: Folder) -> Archive:
    return replace(archive, path=path, config=folder.config, pixels=folder.pixels, pixels_source=folder.source)


def _open(path: Path) -> Archive:
    kind = recognise(path)
    if kind != "sharded":
        content, metadata = _read(path, kind)
        notes = _notes(content)
        return Archive(path, kind, _digest(path), path.stat().st_size, module_state(content.tree), notes, metadata)
    located = read_index(path)
    contents = {shard: _read(shard, recognise(shard), shard=True) for shard in dict.fromkeys(located.values())}
    tree = join(path, located, {shard: _named(shard, content.tree) for shard, (content, _) in contents.items()})
    foreign: Counter[str] = Counter()
    for content, _ in contents.values():
        foreign.update(content.foreign)
    digests = {shard.name: _digest(shard) for shard in contents}
    digest = hashlib.sha256("\n".join(f"{name} {digests[name]}" for name in sorted(digests)).encode()).hexdigest()
    size = path.stat().st_size + sum(shard.stat().st_size for shard in contents)
    metadata = next(iter(contents.values()))[1]
    return Archive(path, kind, digest, size, tree, _notes(Unpickled(tree, dict(foreign))), metadata)


def _read(path: Path, kind: str, shard: bool = False) -> tuple[Unpickled, Mapping[str, str]]:
    if kind == "safetensors":
        tree, metadata = read_safetensors(path, shard)
        return Unpickled(tree, {}), metadata
    if kind == "npz":
        return Unpickled(read_npz(path), {}), {}
    readers = {"torch-zip": read_zip, "torchscript": read_zip, "torch-legacy": read_legacy, "pickle": read_pickle}
    if kind not in readers:
        raise refuse(path, "an index of shards within an index", "give the outer index of plain shards")
    return readers[kind](path), {}


def _named(path: Path, tree: Any) -> Mapping[str, Any]:
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise refuse(path, "a shard that is no dictionary of tensors", "give shards of a plain state dict")
    return tree


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _notes(content: Unpickled) -> tuple[PlaceholderNote, ...]:
    """The foreign names of the file, most frequent first, each with the first place that holds it."""
    where: dict[str, str] = {}
    kept: Counter[str] = Counter()
    for place, value in walk(content.tree):
        if isinstance(value, Placeholder):
            where.setdefault(value.qualname, place)
            kept[value.qualname] += 1
    counts = {**kept, **content.foreign}
    return tuple(
        PlaceholderNote(name, counts[name], where.get(name, ""))
        for name in sorted(counts, key=lambda n: (-counts[n], n))
    )


def walk(tree: Any) -> Iterator[tuple[str, Any]]:
    """The containers, tensors and placeholders of a tree with their dotted places, outermost first.

    Shared and cyclic parts are entered once, and depth costs no recursion.
    """
    seen: set[int] = set()
    level: list[tuple[str, Any]] = [("", tree)]
    while level:
        following: list[tuple[str, Any]] = []
        for place, value in level:
            yield place, value
            children: list[tuple[Any, Any]] = []
            if isinstance(value, dict):
                children = list(value.items())
            elif isinstance(value, (list, tuple, set, frozenset)):
                children = list(enumerate(value))
            elif isinstance(value, Placeholder):
                inside = [*value.args, value.state, *value.elements]
                children = [*value.items.items(), *enumerate(part for part in inside if part is not None)]
            if not children or id(value) in seen:
                continue
            seen.add(id(value))
            for key, child in children:
                if isinstance(child, (dict, list, tuple, set, frozenset, Placeholder, LazyTensor)):
                    named = str(key) if isinstance(key, (str, int)) else "?"
                    following.append((f"{place}.{named}".lstrip(".")[:200], child))
        level = following
