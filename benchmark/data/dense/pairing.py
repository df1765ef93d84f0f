"""Which files belong to which split, and which annotation to which image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmark.data.dataset import Split
from benchmark.data.fingerprint import Stamps, combine, of_files, of_strings
from benchmark.data.folder import FolderReader
from benchmark.errors import DataError, nearest

SPLIT = "{split}"
USUAL: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "train2017"),
    "val": ("val", "validation", "valid", "val2017"),
    "test": ("test", "testing", "test2017"),
}


def asked_for(
    patterns: Sequence[str], asked: Mapping[str, str | None], published: Sequence[str], source: str
) -> dict[str, str]:
    """Split -> the word that takes the place of `{split}` in every pattern.

    The words are those that an option gives, or else whichever of the usual ones has files under every pattern.

    Raises:
        DataError: two usual names are there for one split, or an option names what is not there.
    """
    chosen: dict[str, str] = {}
    for split, names in USUAL.items():
        word = asked.get(split)
        if word is not None:
            chosen[split] = word
            continue
        if published and split not in published:
            continue
        there = [name for name in names if all(Path(p.replace(SPLIT, name)).exists() for p in patterns)]
        if len(there) > 1:
            raise DataError(f"one {split} split", f"{' and '.join(there)} in {source!r}", f"name one with ?{split}=")
        if there:
            chosen[split] = there[0]
    for word in chosen.values():
        for pattern in patterns:
            path = Path(pattern.replace(SPLIT, word))
            if not path.exists():
                beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
                raise DataError("files of every split", f"nothing at {path}", nearest(path.name, beside))
    if not chosen:
        words = "; ".join(f"{split}: {', '.join(names)}" for split, names in USUAL.items())
        raise DataError(
            "splits under their usual names", f"none in {source!r} ({words})", "name them: ?train=...&val=..."
        )
    return chosen


def files_below(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Stem (path below the folder, without the suffix) -> file, of every file that ends in one of the suffixes.

    Raises:
        DataError: the folder is not there, or two files have one stem.
    """
    if not folder.is_dir():
        raise DataError("a folder", f"{'a file' if folder.exists() else 'nothing'} at {folder}", "check the path")
    found: dict[str, Path] = {}
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            end = next((s for s in suffixes if name.lower().endswith(s.lower()) and len(name) > len(s)), None)
            if end is None or name.startswith("."):
                continue
            path = Path(root, name)
            stem = str(path.relative_to(folder))[: -len(end)]
            if stem in found:
                raise DataError("one file per name", f"{found[stem].name} and {name} in {root}", "remove one")
            found[stem] = path
    return found


def listed(path: Path) -> list[str]:
    """The stems in a list file: the first word of each line, as in VOC's `ImageSets`.

    Raises:
        DataError: unreadable, empty, or a stem that comes twice.
    """
    try:
        stems = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("a list of images, one per line", f"{path}: {error}", "check the path") from None
    if not stems:
        raise DataError("a list of images, one per line", f"an empty file {path}", "check the path")
    twice = next((stem for stem in stems if stems.count(stem) > 1), None) if len(set(stems)) < len(stems) else None
    if twice is not None:
        raise DataError("each image once", f"{twice!r} twice in {path}", "remove one")
    return stems


def annotated_split(name: str, root: str, images: Sequence[str], annotations: Sequence[Path], meaning: str) -> Split:
    """A split of image files; it still lacks the readers of its annotations.

    Args:
        name: of the split.
        root: what the paths of images are relative to; not part of any digest.
        images: (N,) paths below it: the ids.
        annotations: the files that annotate them, all together.
        meaning: digest of what the annotations say beside their bytes (class names).
    """
    ids = pa.array(images, pa.string())
    fingerprint, state = of_files(root, ids, Stamps.of([f"{root}/{path}" for path in images]))
    beside = os.path.commonpath([path.parent for path in annotations])
    said = pa.array([os.path.relpath(path, beside) for path in annotations], pa.string())
    drawn, _ = of_files(beside, said, Stamps.of(annotations))
    return Split(
        name=name,
        ids=ids,
        targets=np.zeros((len(ids), 0), np.uint8),
        reader=FolderReader(root, ids),
        fingerprint=combine([of_strings(ids), fingerprint, drawn, meaning]),
        state=combine([of_strings(ids), state]),
    )
