"""Shards: the files that a pattern names, and which split each belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import DataError

_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}
SPLIT_WORDS = {word: split for split, words in _WORDS.items() for word in words}


@dataclass(frozen=True)
class Shards:
    """The files of each split.

    Attributes:
        root: the deepest folder above all of them, absolute.
        splits: split -> paths below `root` (POSIX), sorted.
    """

    root: str
    splits: dict[str, tuple[str, ...]]


def expand_braces(pattern: str) -> list[str]:
    """`a-{000..010}.tar` and `{a,b}.tar` written out, as a shell does; a pattern without braces is itself."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    head, body, tail = pattern[: match.start()], match.group(1), pattern[match.end() :]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", body)
    if span:
        first, last = span.groups()
        width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
        parts = [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    else:
        parts = body.split(",")
    return list(dict.fromkeys(whole for part in parts for whole in expand_braces(head + part + tail)))


def find(pattern: str, suffixes: Sequence[str]) -> list[str]:
    """Absolute paths that a pattern names: braces, `*`, `?`, `**`, or a folder (everything below it with a suffix).

    Raises:
        DataError: it names nothing, or one of the files that its braces spell out is missing.
    """
    paths: list[str] = []
    for one in expand_braces(str(Path(pattern).expanduser())):
        if Path(one).is_dir():
            found = sorted(str(p) for p in Path(one).rglob("*") if p.name.endswith(tuple(suffixes)) and p.is_file())
        elif Path(one).is_file():
            found = [one]  # a name may contain brackets that mean something to glob
        else:
            path = Path(one).absolute()
            found = [str(p) for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if p.is_file()]
        if not found:
            raise DataError(f"files {' or '.join(suffixes)}", f"none at {one!r}", "check the path and the pattern")
        paths += [str(Path(p).absolute()) for p in found]
    return sorted(set(paths))


def split_of(path: str) -> str | None:
    """The split that a file's name (or else the nearest folder's) says it belongs to, or None."""
    for part in reversed(Path(path).parts):
        words = {SPLIT_WORDS[word] for word in re.split(r"[-_.\s]", part.lower()) if word in SPLIT_WORDS}
        if len(words) == 1:
            return words.pop()
    return None


def _below(root: str, path: str) -> str:
    return Path(path).relative_to(root).as_posix()


def find_splits(
    pattern: str, asked: dict[str, str | None], suffixes: Sequence[str], text: str, whole: bool = False
) -> Shards:
    """Sorts files into splits: by the patterns asked for, or else by their names.

    Args:
        pattern: what the source points at; may be empty where `asked` names all.
        asked: split -> pattern, relative to `pattern` where that is a folder, or None.
        suffixes: of the files.
        text: the source as written, for messages.
        whole: all files are one split, `train` (a fraction of it will be held out).

    Raises:
        DataError: nothing found, a file in two splits, or a file whose name tells no split.
    """
    base = Path(pattern).expanduser()
    splits: dict[str, list[str]] = {}
    for split, one in asked.items():
        if one is not None:
            splits[split] = find(str(base / one) if pattern and base.is_dir() else one, suffixes)
    if not splits:
        if not pattern:
            raise DataError(
                "files", f"no pattern in {text!r}", "write KIND:GLOB, or name them with ?train=GLOB&test=GLOB"
            )
        paths = find(pattern, suffixes)
        above = os.path.commonpath([str(Path(path).parent) for path in paths])
        for path in paths:
            guess = "train" if whole else split_of(_below(above, path))
            if guess is None:
                todo = "name the splits with ?train=GLOB&test=GLOB, or add split=0.2"
                raise DataError("file names that tell their split (train-0.., test-0..)", path, todo)
            splits.setdefault(guess, []).append(path)
    seen: dict[str, str] = {}
    for split, paths in splits.items():
        for path in paths:
            if seen.setdefault(path, split) != split:
                raise DataError(
                    "a file in one split", f"{path} in {seen[path]} and {split}", "make the patterns disjoint"
                )
    folders = [str(Path(path).parent) for path in seen]
    root = os.path.commonpath(folders)
    return Shards(root, {split: tuple(_below(root, path) for path in paths) for split, paths in splits.items()})
