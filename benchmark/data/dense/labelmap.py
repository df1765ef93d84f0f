"""What the values of a mask mean: raw value to class, or to nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.data.annotations import IGNORE
from benchmark.data.fingerprint import combine
from benchmark.errors import DataError, nearest

_UNKNOWN = IGNORE - 1  # in a table: a raw value that the map does not name
VALUES = 65536  # a mask holds 8 or 16 bits


class _File(BaseModel):
    """A label map as stored: `names` by raw value (a list counts from 0), and the raw values without a class.

    The rest is how a published dataset lays its files out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: dict[int, str]
    ignore: tuple[int, ...] = ()
    splits: tuple[str, ...] = ()
    image_suffix: str | None = None
    mask_suffix: str | None = None


@dataclass(frozen=True)
class LabelMap:
    """Raw values of masks to class indices.

    Attributes:
        name: for messages.
        classes: names by class index, in the order of the raw values.
        table: (65536,) uint16 class of each raw value, `IGNORE`, or a mark of values that the map does not name.
        splits: the splits whose masks are published; empty for whichever there are.
        image_suffix, mask_suffix: how the names of files end, where that is fixed.
    """

    name: str
    classes: tuple[str, ...]
    table: NDArray[np.uint16]
    splits: tuple[str, ...] = ()
    image_suffix: str | None = None
    mask_suffix: str | None = None

    def read(self, raw: NDArray[Any], where: str) -> NDArray[np.uint16]:
        """(H, W) classes of raw values.

        Raises:
            DataError: a value that the map does not name.
        """
        found = self.table[raw]
        unknown = found == _UNKNOWN
        if unknown.any():
            value = int(raw[unknown][0])
            raise DataError(
                f"values that the label map {self.name} names",
                f"{value} at {int(unknown.sum())} pixels of {where}",
                f"name it in the label map, or pass over it with ignore={value}",
            )
        return found

    def digest(self) -> str:
        """Hex digest of names and meaning of every value."""
        kept = np.flatnonzero(self.table != _UNKNOWN)
        return combine([*self.classes, *(f"{value}:{self.table[value]}" for value in kept.tolist())])


def shipped() -> dict[str, Path]:
    """Names and files of the label maps that come with the project."""
    folder = resources.files("benchmark.data.dense") / "labelmaps"
    return {Path(str(entry)).stem: Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".json")}


def load_label_map(name: str | None, ignore: tuple[int, ...], source: str) -> LabelMap:
    """A shipped label map by its name, or a user's by the path of its file.

    A user's file is JSON, `{"0": "sky", "7": "road"}` or `["sky", "road"]`, or text with a name per line. `ignore` says
    which raw values are passed over, in addition to those of a shipped map; 255 in a file that does not name it always
    is (as in every dataset of the field).

    Raises:
        DataError: no such map, a file that is none, a value out of range, or a name that comes twice.
    """
    known = shipped()
    if name is None:
        raise DataError(
            "a label map for the masks",
            f"none in {source!r}",
            f"add ?labels=FILE.json (raw value to name), or one of {', '.join(sorted(known))}",
        )
    file = _read(known[name]) if name in known else _users(name, source)
    passed_over = {*ignore, *file.ignore, *({255} if 255 not in file.names else ())}
    for value in (*file.names, *passed_over):
        if not 0 <= value < VALUES:
            raise DataError("raw values of 0 to 65535", f"{value} in label map {name}", "correct it")
    kept = sorted((value, label) for value, label in file.names.items() if value not in passed_over)
    labels = [label for _, label in kept]
    double = sorted({label for label in labels if labels.count(label) > 1})
    if double:
        raise DataError("a value per name", f"{double[0]!r} twice in label map {name}", "rename one")
    if len(kept) < 2:
        raise DataError("two classes or more", f"{labels} in label map {name}", "name more of them")
    table = np.full(VALUES, _UNKNOWN, np.uint16)
    table[sorted(passed_over)] = IGNORE
    for index, (value, _) in enumerate(kept):
        table[value] = index
    return LabelMap(Path(name).name, tuple(labels), table, file.splits, file.image_suffix, file.mask_suffix)


def _read(path: Path) -> _File:
    return _File.model_validate_json(path.read_bytes())


def _users(name: str, source: str) -> _File:
    path = Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = sorted(shipped())
        raise DataError("a label map", f"labels={name} in {source!r}: {error}", nearest(name, known)) from None
    if path.suffix.lower() != ".json":
        return _File(names=dict(enumerate(line.strip() for line in text.splitlines() if line.strip())))
    try:
        content = json.loads(text)
        return _File(names=dict(enumerate(content)) if isinstance(content, list) else content)
    except (json.JSONDecodeError, ValidationError, TypeError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DataError(
            "a label map as JSON: raw value to name, or a list of names", f"{path}: {why}", "correct it"
        ) from None
