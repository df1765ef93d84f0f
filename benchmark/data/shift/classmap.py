"""Which classes of the clean dataset count as right for each class of the shifted images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.data.imagenet import imagenet_classes
from benchmark.errors import DataError, nearest

SHARED, INDEX, NONE = "shared", "imagenet-index", "none"
WORDS = (SHARED, INDEX, NONE)


class ClassMapFile(BaseModel):
    """A class map as stored, in YAML.

    Attributes:
        name: for people.
        summary: one line.
        classes: class of the shifted images -> the clean class or classes that count as right.
        others: what becomes of images of classes that are not named.
        border: pixels to cut off each side of the shifted images before anything else (ObjectNet has a red border).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    summary: str = ""
    classes: Mapping[str, str | tuple[str, ...]] = Field(min_length=1)
    others: Literal["refused", "left out"] = "refused"
    border: int = Field(0, ge=0)


@dataclass(frozen=True)
class ClassMap:
    """A class map between two lists of classes.

    Attributes:
        accepted: (K, C) whether clean class c counts as right for shifted class k; a row without any is left out. None
            where the two have nothing to do with each other.
        border: see `ClassMapFile`.
    """

    accepted: NDArray[np.bool_] | None
    border: int = 0


def shipped_maps() -> dict[str, Path]:
    """Names and files of the class maps that come with the project."""
    folder = resources.files("benchmark.data.shift") / "maps"
    return {Path(str(entry)).stem: Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".yaml")}


def class_map(name: str | None, clean: Sequence[str], shifted: Sequence[str], source: str) -> ClassMap:
    """The class map of that name between the classes of the clean and of the shifted images.

    Args:
        name: None for equal names; `shared` for those of the shifted names that are also clean ones, the others left
            out; `imagenet-index` for folders named by the place of a class of ImageNet-1k (ImageNet-V2; their
            alphabetical order is not that of the classes); `none` where nothing counts as right; a shipped map; or
            a YAML file.
        clean: class names of the clean dataset.
        shifted: class names of the shifted images.
        source: the pair as written, for messages.

    Raises:
        DataError: names that one of the two has and the map does not, or a file that is no class map.
    """
    if name == NONE:
        return ClassMap(None)
    if name is None or name == SHARED:
        return ClassMap(_equal(clean, shifted, name == SHARED, source))
    if name == INDEX:
        return ClassMap(_matrix(_indices(shifted, source), clean, shifted, source))
    file = _load(name, source)
    table = {key: (value,) if isinstance(value, str) else value for key, value in file.classes.items()}
    strange = [label for label in shifted if label not in table]
    if strange and file.others == "refused":
        found = f"{strange[0]!r} ({len(strange)} such) in {source!r}"
        todo = f"{nearest(strange[0], table)} Name it there, or write `others: left out`"
        raise DataError(f"shifted classes that the class map {name} names", found, todo)
    if len(strange) == len(shifted):
        found = f"none of {', '.join(shifted[:5])} in {source!r}"
        raise DataError(f"shifted classes that the class map {name} names", found, "check the map and the folder")
    return ClassMap(_matrix(table, clean, shifted, source), file.border)


def _equal(clean: Sequence[str], shifted: Sequence[str], leave_out: bool, source: str) -> NDArray[np.bool_]:
    known = set(clean)
    strange = [label for label in shifted if label not in known]
    if len(strange) == len(shifted):
        # Never taken for images of something else: the same classes often have other names (numbers, say).
        mine, theirs = (", ".join(map(repr, names[:3])) for names in (clean, shifted))
        todo = f"say which are which by map=FILE.yaml or map={INDEX}, or by map={NONE} that they are something else"
        raise DataError("class names that both sources have", f"{mine} ... and {theirs} ... in {source!r}", todo)
    if strange and not leave_out:
        found = f"{strange[0]!r} ({len(strange)} of {len(shifted)} classes) in {source!r}"
        todo = f"{nearest(strange[0], clean)} Give map=FILE.yaml, or map=shared to leave such images out"
        raise DataError("shifted classes that the clean dataset has", found, todo)
    return _matrix({label: (label,) for label in shifted if label in known}, clean, shifted, source)


def _indices(shifted: Sequence[str], source: str) -> dict[str, tuple[str, ...]]:
    names = list(imagenet_classes())
    strange = [label for label in shifted if not (label.isascii() and label.isdigit() and int(label) < len(names))]
    if strange:
        found = f"{strange[0]!r} in {source!r}"
        raise DataError("shifted classes named 0 to 999", found, "leave map=imagenet-index away")
    return {label: (names[int(label)],) for label in shifted}


def _matrix(
    table: Mapping[str, Sequence[str]], clean: Sequence[str], shifted: Sequence[str], source: str
) -> NDArray[np.bool_]:
    places = {label: place for place, label in enumerate(clean)}
    accepted = np.zeros((len(shifted), len(clean)), bool)
    for row, label in enumerate(shifted):
        for right in table.get(label, ()):
            if right not in places:
                found = f"{right!r} for {label!r} in {source!r}"
                raise DataError("class maps onto clean classes", found, nearest(right, clean))
            accepted[row, places[right]] = True
    return accepted


def _load(name: str, source: str) -> ClassMapFile:
    known = shipped_maps()
    path = known.get(name, Path(name).expanduser())
    if not path.is_file():
        todo = f"{nearest(name, [*known, *WORDS])} A YAML file works too."
        raise DataError("a class map", f"no file and no shipped map {name!r} in {source!r}", todo)
    try:
        return ClassMapFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # a typo leaves a gap as well
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            "a class map (`classes: {shifted: clean}`)", f"{path}: {where}: {first['msg']}", "mend it"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DataError("a class map in YAML", f"{path}: {error}", "mend it") from error
