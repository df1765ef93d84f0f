"""`coco:IMAGES,ANNOTATIONS`: boxes, classes and masks of objects in COCO's JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.assemble import assemble
from benchmark.data.dataset import Dataset, Split
from benchmark.data.dense.boxes import BoxReader, Found
from benchmark.data.dense.pairing import SPLIT, annotated_split, asked_for
from benchmark.data.fingerprint import combine
from benchmark.data.options import Options
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError


class CocoOptions(Options):
    """Options of `coco:`.

    Attributes:
        train, val, test: the word that stands for `{split}` in both paths (else whichever of the usual ones is there).
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None


@dataclass(frozen=True)
class _Content:
    """An annotation file, taken apart: category id -> name, the images, the annotations."""

    path: str
    categories: dict[int, str]
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]


def _read(path: str) -> _Content:
    """The content of an annotation file.

    Raises:
        DataError: it is empty, no JSON, or lacks images or categories; an id comes twice.
    """
    try:
        raw = Path(path).read_bytes()
        content = json.loads(raw) if raw.strip() else None
    except (OSError, ValueError) as error:
        raise DataError("COCO annotations as JSON", f"{path}: {error}", "correct the path or the file") from None
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        found = "nothing" if content is None else sorted(content)[:6] if isinstance(content, dict) else "a list"
        raise DataError("images, annotations and categories", f"{found} in {path}", "give COCO's instances_*.json")
    for key in keys:
        ids = [entry.get("id") for entry in content[key]]
        if None in ids or len(set(ids)) < len(ids):
            twice = next((one for one in ids if one is None or ids.count(one) > 1), None)
            raise DataError(f"an id of its own for each of {key}", f"{twice!r} in {path}", "correct it")
    for key in ("images", "categories"):
        if not content[key]:
            raise DataError(f"{key} in the annotations", f"none in {path}", "check that it is the right file")
    names = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
    return _Content(path, names, content["images"], content["annotations"])


def open_coco(name: str, spec: SourceSpec, options: CocoOptions) -> Dataset:
    """Images with their objects. Images without any are kept; images that the file does not list are not read.

    Raises:
        DataError: paths or splits make no sense; a file that is no COCO annotation; an id that nothing else knows; a
            box that reaches out of its image; splits with other categories.
    """
    parts = spec.rest.split(",")
    if len(parts) != 2 or not all(SPLIT in part for part in parts):
        todo = "write for instance coco:/data/images/{split},/data/instances_{split}.json"
        raise DataError("coco:IMAGES,ANNOTATIONS with {split} in both", repr(spec.text), todo)
    images_at, file_at = (str(Path(part).expanduser().absolute()) for part in parts)
    asked: Mapping[str, str | None] = {"train": options.train, "val": options.val, "test": options.test}
    words = asked_for((images_at, file_at), asked, (), spec.text)
    contents = {split: _read(file_at.replace(SPLIT, word)) for split, word in words.items()}
    categories = next(iter(contents.values())).categories
    for content in contents.values():
        if content.categories != categories:
            raise DataError("the same categories in every split", f"others in {content.path}", "correct the files")
    ids = sorted(categories)
    classes = [categories[one] for one in ids]
    index = {one: place for place, one in enumerate(ids)}
    root = images_at.partition(SPLIT)[0].rstrip("/") or "/"
    splits = {
        split: _split(split, root, images_at.replace(SPLIT, words[split]), content, index)
        for split, content in contents.items()
    }
    return assemble(name, spec.text, (), splits, object_classes=classes)


def _split(name: str, root: str, folder: str, content: _Content, classes: dict[int, int]) -> Split:
    listed = sorted(content.images, key=lambda entry: str(entry.get("file_name")))
    paths, sizes, places = [], np.zeros((len(listed), 2), np.int64), {}
    for place, entry in enumerate(listed):
        try:
            path = Path(folder, str(entry["file_name"]))
            sizes[place] = int(entry["width"]), int(entry["height"])
        except (KeyError, TypeError, ValueError) as error:
            where = f"{error} of image {entry['id']} in {content.path}"
            raise DataError("file_name, width and height of every image", where, "correct it") from None
        if not path.is_file():
            raise DataError("the images that are annotated", f"no {path} (image {entry['id']})", "check the path")
        paths.append(path)
        places[entry["id"]] = place
    found = _objects(content, places, classes)
    said = combine([str(category) for pair in sorted(content.categories.items()) for category in pair])
    split = annotated_split(name, root, [str(path.relative_to(root)) for path in paths], [Path(content.path)], said)
    images = [str(path) for path in paths]
    return replace(split, objects=BoxReader.of(images, [content.path] * len(images), sizes, found))


def _objects(content: _Content, places: dict[int, int], classes: dict[int, int]) -> Found:
    found = Found()
    for entry in content.annotations:
        name = f"annotation {entry['id']} of {content.path}"
        if entry.get("image_id") not in places:
            raise DataError("annotations of listed images", f"image {entry.get('image_id')} in {name}", "correct it")
        if entry.get("category_id") not in classes:
            raise DataError("annotations of listed categories", f"{entry.get('category_id')} in {name}", "correct it")
        try:
            x, y, width, height = (float(number) for number in entry["bbox"])
        except (KeyError, TypeError, ValueError):
            raise DataError("bbox as x, y, width, height", f"{entry.get('bbox')} in {name}", "correct it") from None
        found.image.append(places[entry["image_id"]])
        found.name.append(name)
        found.box.append((x, y, x + width, y + height))
        found.label.append(classes[entry["category_id"]])
        found.crowd.append(bool(entry.get("iscrowd", 0)))
        found.difficult.append(False)
        found.area.append(None if entry.get("area") is None else float(entry["area"]))
        found.segment.append(entry.get("segmentation"))
    return found


SOURCE = Source(
    "coco:IMAGES,ANNOTATIONS", "images and COCO's JSON of their objects; {split} in both paths", CocoOptions, open_coco
)
