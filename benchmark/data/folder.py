"""`folder:PATH`: an ImageNet-style tree (`train/CLASS/...`, `test/` or `val/`), or one folder of classes to split."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from benchmark.data.assemble import assemble
from benchmark.data.dataset import Collection, Dataset, Split
from benchmark.data.duplicates import leaked
from benchmark.data.fingerprint import Stamps, combine, of_files, of_labels
from benchmark.data.images import read_image
from benchmark.data.options import Options
from benchmark.data.partition import held_out
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError, nearest

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif")
VAL_NAMES = ("val", "validation", "valid")


class FolderOptions(Options):
    """Options of `folder:`.

    Attributes:
        train, val, test: names of the folders of the splits (`train`; `val`, `validation` or `valid`; `test`).
        split: the fraction of one folder of classes to report on, where there is no such folder.
        seed: of that draw.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None
    split: float | None = Field(None, gt=0, lt=1)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class FolderReader:
    """Images by their path below a folder."""

    root: str
    ids: pa.Array

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Image.Image:
        """Image `index` as RGB."""
        name = self.ids[index].as_py()
        return read_image(f"{self.root}/{name}", name)

    def chosen(self, positions: np.ndarray) -> FolderReader:
        """The images at some positions; worker processes get these names and no others."""
        return FolderReader(self.root, self.ids.take(pa.array(positions)))


@dataclass
class Found:
    """What a walk through the class folders of a split has found; flat arrays, for a million files.

    Attributes:
        classes: names of the class folders.
        counts: images of each.
        names: paths of the images, class by class.
        stamps: size, modification and status-change time of each, one after the other.
        stray: paths of what is no image.
    """

    classes: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    stamps: array[int] = field(default_factory=lambda: array("q"))
    stray: list[str] = field(default_factory=list)

    def walk(self, folder: str, prefix: str, seen: frozenset[tuple[int, int]]) -> int:
        """Adds the images in and below `folder`; the number of them. `seen` are the folders above (links may loop)."""
        here = Path(folder).stat()
        if (here.st_dev, here.st_ino) in seen:
            return 0
        added = 0
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = f"{prefix}/{entry.name}"
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    added += self.walk(entry.path, name, seen | {(here.st_dev, here.st_ino)})
                elif not entry.name.lower().endswith(EXTENSIONS):
                    self.stray.append(name)
                else:
                    try:
                        stat = entry.stat()
                        name.encode()
                    except OSError as error:
                        todo = "remove the link or restore its target"
                        raise DataError("a readable image", f"{entry.path}: {error.strerror}", todo) from None
                    except UnicodeEncodeError:
                        raise DataError("file names in UTF-8", ascii(entry.path), "rename it") from None
                    self.names.append(name)
                    self.stamps.extend((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
                    added += 1
        return added


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, in alphabetical order, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def scan_classes(root: Path, where: str) -> Found:
    """The images of the split in `root/where` (`root` itself where `where` is empty)."""
    folder = root / where
    found = Found(classes=subfolders(folder))
    if not found.classes:
        holds = "files but no class folders" if any(folder.iterdir()) else "nothing"
        raise DataError(
            "a folder per class", f"{holds} in {folder}", "put the images of each class into a folder of its name"
        )
    for label in found.classes:
        found.counts.append(found.walk(str(folder / label), f"{where}/{label}".lstrip("/"), frozenset()))
        if not found.counts[-1]:
            todo = f"add some ({', '.join(EXTENSIONS[:5])}, ...) or remove the folder"
            raise DataError("images in every class folder", f"none in {folder / label}", todo)
    found.stray += [
        f"{where}/{p.name}".lstrip("/") for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")
    ]
    return found


def _split_folders(root: Path, options: FolderOptions, text: str) -> dict[str, str]:
    """Split name -> its folder below `root`; only `train` (it may be the root itself) where `split=` makes the rest."""
    there = subfolders(root)
    asked = {"train": options.train, "val": options.val, "test": options.test}
    for name in asked.values():
        if name is not None and not (root / name).is_dir():
            raise DataError("the folder named in an option", f"no {name!r} in {root}", nearest(name, there))
    usual = {"train": ("train",), "val": VAL_NAMES, "test": ("test",)}
    chosen: dict[str, str] = {}
    for split, names in usual.items():
        present = [name for name in names if name in there]
        if asked[split] is None and len(present) > 1:
            raise DataError(f"one {split} folder", f"{' and '.join(present)} in {root}", f"name one with ?{split}=")
        if asked[split] is not None or present:
            chosen[split] = asked[split] or present[0]
    if options.split is not None:
        if set(chosen) - {"train"}:
            others = ", ".join(sorted(set(chosen) - {"train"}))
            raise DataError(
                "split= only where nothing but train is there", f"{others} in {text!r}", "leave split= away"
            )
        return {"train": chosen.get("train", "")}
    if "train" not in chosen:
        found = f"{', '.join(there[:6]) or 'no folder'} in {root}"
        raise DataError(
            "a train folder", found, "name it with ?train=, or add ?split=0.2 to split one folder of classes"
        )
    if len(chosen) == 1:
        found = f"{', '.join(there[:6])} in {root}"
        raise DataError(
            "a test or val folder beside train", found, "name it with ?test=, or add ?split=0.2 to split train"
        )
    return chosen


def make_split(root: Path, name: str, ids: pa.Array, targets: NDArray[np.int64], stamps: Stamps) -> Split:
    """A split of the images at `ids` below `root`."""
    fingerprint, state = of_files(root, ids, stamps)
    labels = of_labels(ids, targets)
    reader = FolderReader(str(root), ids)
    return Split(name, ids, targets, reader, combine([labels, fingerprint]), combine([labels, state]))


def _root_of(spec: SourceSpec) -> Path:
    root = Path(spec.rest).expanduser().absolute()
    if not spec.rest or not root.is_dir():
        found = f"{'a file' if root.is_file() else 'nothing'} at {spec.rest!r}"
        raise DataError("a folder of images", found, "check the path in folder:PATH")
    if not any(root.iterdir()):
        raise DataError("a folder of images", f"an empty folder {spec.rest!r}", "check the path in folder:PATH")
    return root


def open_folder(name: str, spec: SourceSpec, options: FolderOptions) -> Dataset:
    """The images below a folder. Where `test` and `val` are both there, `test` is reported and `val` is for selection.

    Raises:
        DataError: the folder, a split or a class is missing or empty, or a class is reported that train lacks.
    """
    root = _root_of(spec)
    folders = _split_folders(root, options, spec.text)
    scans = {split: scan_classes(root, where) for split, where in folders.items()}
    classes = scans["train"].classes
    index = {label: i for i, label in enumerate(classes)}
    notices = []
    for split, scan in scans.items():
        strange = [label for label in scan.classes if label not in index]
        if strange:
            said = f"{strange[0]!r} in {folders[split]}/ ({len(strange)} such)"
            raise DataError("only classes that train has", said, nearest(strange[0], classes))
        if scan.stray:
            notices.append(f"{len(scan.stray)} files of {split} are no images and were left out: {scan.stray[0]} ...")
    parts = {
        split: (
            pa.array(scan.names, pa.string()),
            np.repeat(np.array([index[label] for label in scan.classes], np.int64), scan.counts),
            Stamps.of_rows(np.array(scan.stamps, np.int64)),
        )
        for split, scan in scans.items()
    }
    if options.split is not None:
        ids, targets, stamps = parts["train"]
        out = held_out(ids, targets, options.split, options.seed, spec.text)
        for split, rows in (("train", np.flatnonzero(~out)), ("test", np.flatnonzero(out))):
            parts[split] = (ids.take(pa.array(rows)), targets[rows], stamps.take(rows))
    splits = {split: make_split(root, split, *part) for split, part in parts.items()}
    dataset = assemble(name, spec.text, classes, splits, notices=notices)
    train, test = parts["train"], parts[dataset.reported]
    leak = leaked(root, train[0], train[2].sizes, test[0], test[2].sizes)
    if leak is None:
        return dataset
    return assemble(name, spec.text, classes, splits, notices=[*notices, leak])


def collect_folder(name: str, spec: SourceSpec, options: FolderOptions) -> Collection:
    """The images of the test folder, else of the val folder, else all of a folder of classes; train is not looked at.

    Raises:
        DataError: the folder or a class is missing or empty, or there is a train folder and nothing beside it.
    """
    root = _root_of(spec)
    if options.split is not None:
        dataset = open_folder(name, spec, options)
        return Collection(dataset.splits[dataset.reported], dataset.classes, notices=dataset.notices)
    there = subfolders(root)
    named = [label for label in (options.test, options.val, "test", *VAL_NAMES) if label in there]
    if not named and ("train" in there or options.test or options.val):
        _split_folders(root, options, spec.text)  # says what is missing
    scan = scan_classes(root, named[0] if named else "")
    targets = np.repeat(np.arange(len(scan.classes)), scan.counts).astype(np.int64)
    stamps = Stamps.of_rows(np.array(scan.stamps, np.int64))
    split = make_split(root, "test", pa.array(scan.names, pa.string()), targets, stamps)
    stray = f"{len(scan.stray)} files are no images and were left out: {', '.join(scan.stray[:1])} ..."
    return Collection(split, tuple(scan.classes), notices=(stray,) if scan.stray else ())


SOURCE = Source(
    "folder:PATH",
    "folders of images, one per class, in train/ and test/ or val/",
    FolderOptions,
    open_folder,
    collect_folder,
)
