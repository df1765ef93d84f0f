"""`voc:ROOT`: boxes and classes of objects in PASCAL VOC's folders of XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.data.assemble import assemble
from benchmark.data.dataset import Dataset, Split
from benchmark.data.dense.boxes import BoxReader, Found
from benchmark.data.dense.pairing import annotated_split, listed
from benchmark.data.fingerprint import combine
from benchmark.data.folder import EXTENSIONS
from benchmark.data.options import Options
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError, nearest


class VocOptions(Options):
    """Options of `voc:`.

    Attributes:
        train, val, test: lists below `ImageSets/Main` (`trainval`), in a folder of ROOT where it holds several years,
            and several of them joined by `+`: `train=VOC2007/trainval+VOC2012/trainval&test=VOC2007/test` is 07+12.
            Without any of the three: `train`, `val`, `test`, whichever are there.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None


def open_voc(name: str, spec: SourceSpec, options: VocOptions) -> Dataset:
    """Images with their objects. Images without any are kept.

    Raises:
        DataError: a folder, list, image or annotation that is missing, XML that is none of VOC's, or a box that reaches
            out of its image.
    """
    root = Path(spec.rest).expanduser().absolute()
    if not spec.rest or not root.is_dir():
        raise DataError("a folder with ImageSets/Main", f"nothing at {spec.rest!r}", "check the path in voc:ROOT")
    given = {"train": options.train, "val": options.val, "test": options.test}
    asked = {split: word for split, word in given.items() if word is not None}
    if not asked:
        asked = {split: split for split in given if (root / f"ImageSets/Main/{split}.txt").is_file()}
    read = {split: _read_split(root, word) for split, word in asked.items()}
    classes = sorted({label for _, _, _, labels, _ in read.values() for label in labels})
    index = {label: place for place, label in enumerate(classes)}
    splits: dict[str, Split] = {}
    for split, (images, files, sizes, labels, found) in read.items():
        found.label.extend(index[label] for label in labels)
        made = annotated_split(
            split, str(root), [str(path.relative_to(root)) for path in images], files, combine(classes)
        )
        reader = BoxReader.of([str(path) for path in images], [str(path) for path in files], sizes, found)
        splits[split] = replace(made, objects=reader)
    return assemble(name, spec.text, (), splits, object_classes=classes)


def _read_split(root: Path, word: str) -> tuple[list[Path], list[Path], np.ndarray, list[str], Found]:
    """Images, annotation files, (N, 2) sizes, a class name per object, and the objects, still without class indices."""
    images: list[Path] = []
    files: list[Path] = []
    for part in word.split("+"):
        year, _, list_name = part.rpartition("/")
        base = root / year
        path = base / f"ImageSets/Main/{list_name}.txt"
        if not path.is_file():
            there = [entry.stem for entry in path.parent.glob("*.txt")] if path.parent.is_dir() else []
            raise DataError("a list of images", f"no {path}", nearest(list_name, there))
        by_stem = {entry.stem: entry for entry in (base / "JPEGImages").glob("*") if entry.suffix.lower() in EXTENSIONS}
        for stem in listed(path):
            if stem not in by_stem:
                raise DataError("an image for every name", f"none for {stem!r} of {path}", "check JPEGImages")
            images.append(by_stem[stem])
            files.append(base / f"Annotations/{stem}.xml")
    sizes, labels, found = np.zeros((len(images), 2), np.int64), list[str](), Found()
    for place, file in enumerate(files):
        sizes[place] = _read_file(file, place, labels, found)
    return images, files, sizes, labels, found


def _read_file(file: Path, place: int, labels: list[str], found: Found) -> tuple[int, int]:
    """Adds the objects of a file; (width, height) of its image.

    Boxes count pixels from 1 and end with the last pixel (VOC's development kit): x0 is xmin - 1 and x1 is xmax.
    """
    try:
        tree = ET.parse(file).getroot()
        size = int(_text(tree, "size/width")), int(_text(tree, "size/height"))
        for number, entry in enumerate(tree.iter("object")):
            x0, y0, x1, y1 = (float(_text(entry, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
            labels.append(_text(entry, "name").strip())
            found.image.append(place)
            found.name.append(f"object {number} ({labels[-1]}) of {file}")
            found.box.append((x0 - 1, y0 - 1, x1, y1))
            found.crowd.append(False)
            found.difficult.append((entry.findtext("difficult") or "0").strip() == "1")
            found.area.append(None)
            found.segment.append(None)
    except (OSError, ET.ParseError, ValueError) as error:
        raise DataError("an annotation in VOC's XML", f"{file}: {error}", "restore or correct it") from None
    return size


def _text(node: ET.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None or not text.strip():
        raise ValueError(f"no {path}")
    return text


SOURCE = Source("voc:ROOT", "images and PASCAL VOC's XML of their objects", VocOptions, open_voc)
