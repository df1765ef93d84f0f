"""`coco:` and `voc:` give every object its box, class and mask, and name the file and the id of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data.dataset import Dataset
from benchmark.data.runlength import from_run_lengths
from benchmark.data.source import open_source
from benchmark.errors import DataError
from tests.data.conftest import travelled

SQUARE = [[2, 1, 6, 1, 6, 5, 2, 5]]


def content() -> dict[str, Any]:
    """Three images of 10 x 8: two objects and a crowd, one object, none."""
    boxes = [(1, 7, [2, 1, 4, 4], 0), (1, 3, [0, 0, 10, 8], 1), (2, 3, [5.5, 2, 4.5, 6], 0), (1, 3, [0, 0, 3, 2], 0)]
    runs = {"size": [8, 10], "counts": [0, 40, 40]}
    return {
        "images": [{"id": k, "file_name": f"{k}.jpg", "width": 10, "height": 8} for k in (3, 1, 2)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {
                "id": 10 + place,
                "image_id": image,
                "category_id": category,
                "bbox": box,
                "iscrowd": crowd,
                "area": 5.0 + place,
                "segmentation": runs if crowd else SQUARE,
            }
            for place, (image, category, box, crowd) in enumerate(boxes)
        ],
    }


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., Dataset]:
    def write(change: Callable[[dict[str, Any]], object] = lambda said: None, raw: str | None = None) -> Dataset:
        for split in ("train2017", "val2017"):
            (tmp_path / "images" / split).mkdir(parents=True, exist_ok=True)
            for number in (1, 2, 3):
                Image.new("RGB", (10, 8), (number, 0, 0)).save(tmp_path / f"images/{split}/{number}.jpg")
            said = content()
            if split == "val2017":
                change(said)
            text = json.dumps(said) if raw is None or split == "train2017" else raw
            (tmp_path / f"instances_{split}.json").write_text(text)
        return open_source("c", f"coco:{tmp_path}/images/{{split}},{tmp_path}/instances_{{split}}.json")

    return write


def test_objects_of_coco_come_image_by_image(coco: Callable[..., Dataset]) -> None:
    data = coco()
    assert data.kinds == {"objects"} and data.object_classes == ("dog", "cat") and data.reported == "val"
    split = data.splits["val"]
    assert split.ids.to_pylist() == [f"val2017/{k}.jpg" for k in (1, 2, 3)]
    reader = travelled(split.objects)
    first, second, third = (reader.objects(index) for index in range(3))
    assert first.boxes.tolist() == [[2, 1, 6, 5], [0, 0, 10, 8], [0, 0, 3, 2]]
    assert first.labels.tolist() == [1, 0, 0] and first.crowd.tolist() == [False, True, False]
    assert first.areas.tolist() == [5, 6, 8] and first.size == (8, 10) and not first.difficult.any()
    assert second.boxes.tolist() == [[5.5, 2, 10, 8]] and len(third) == 0 and third.boxes.shape == (0, 4)


def test_masks_are_those_that_pycocotools_draws(coco: Callable[..., Dataset], tmp_path: Path) -> None:
    api = pytest.importorskip("pycocotools.coco")
    data = coco()
    theirs = api.COCO(str(tmp_path / "instances_val2017.json"))
    objects = data.splits["val"].objects
    assert objects is not None
    found = objects.objects(0)
    assert found.segments is not None
    for segment, annotation in zip(found.segments, theirs.loadAnns([10, 11, 13]), strict=True):
        np.testing.assert_array_equal(from_run_lengths(segment, (8, 10)), theirs.annToMask(annotation).astype(bool))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said["annotations"][0].update(category_id=5), r"5 in annotation 10 of .*instances_val2017"),
        (lambda said: said["annotations"][2].update(image_id=99), r"image 99 in annotation 12 of .*val2017.json"),
        (lambda said: said["annotations"][0].update(bbox=[8, 1, 4, 4]), r"annotation 10 of .* in 10 x 8 pixels"),
        (lambda said: said["annotations"][0].update(bbox=[2, 1, -4, 4]), r"width and height.*annotation 10"),
        (lambda said: said["annotations"][1].update(bbox=[1, 2]), r"x, y, width, height.*annotation 11"),
        (lambda said: said["annotations"][1].update(id=10), r"10 in .*val2017.json"),
        (lambda said: said["images"][0].pop("width"), r"'width' of image 3"),
        (lambda said: said["images"][0].update(file_name="9.jpg"), r"9.jpg \(image 3\)"),
        (lambda said: said["categories"][0].update(name="cow"), "same categories"),
        (lambda said: said.update(images=[]), "images in the annotations"),
        (lambda said: said.pop("categories"), "images, annotations and categories"),
    ],
)
def test_what_contradicts_itself_is_named_with_file_and_id(
    coco: Callable[..., Dataset], change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        coco(change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", ["", "{", "[]", "null"])
def test_a_file_that_is_empty_or_no_annotation_is_refused(coco: Callable[..., Dataset], raw: str) -> None:
    with pytest.raises(DataError, match=r"instances_val2017.json"):
        coco(raw=raw)


def test_an_image_of_another_size_than_annotated_is_refused(coco: Callable[..., Dataset], tmp_path: Path) -> None:
    objects = coco().splits["val"].objects
    Image.new("RGB", (10, 9)).save(tmp_path / "images/val2017/1.jpg")
    assert objects is not None
    with pytest.raises(DataError, match=r"10 x 8 in .*instances_val2017.json and 10 x 9 in .*1.jpg"):
        objects.objects(0)


def test_the_fingerprint_follows_the_annotations(coco: Callable[..., Dataset]) -> None:
    before = coco()
    assert coco().fingerprint == before.fingerprint
    moved = coco(lambda said: said["annotations"][0].update(bbox=[2, 1, 4, 3]))
    assert moved.fingerprint != before.fingerprint


XML = """<annotation><size><width>10</width><height>8</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
<bndbox><ymin>2</ymin><xmin>{xmin}</xmin><xmax>10</xmax><ymax>8</ymax></bndbox></object>"""


def voc(root: Path, stems: dict[str, list[str]], objects: dict[str, str]) -> None:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, members in stems.items():
        (root / f"ImageSets/Main/{name}.txt").write_text("".join(f"{stem}\n" for stem in members))
        for stem in members:
            Image.new("RGB", (10, 8), (len(stem), 9, 9)).save(root / f"JPEGImages/{stem}.jpg")
            (root / f"Annotations/{stem}.xml").write_text(XML.format(objects=objects.get(stem, "")))


def test_boxes_of_voc_count_from_one_and_years_are_joined(tmp_path: Path) -> None:
    dog, cat = (OBJECT.format(name=name, difficult=d, xmin=x) for name, d, x in (("dog", 0, 1), ("cat", 1, 4)))
    voc(tmp_path / "VOC2007", {"trainval": ["a", "b"], "test": ["c", "d"]}, {"a": dog, "b": cat, "c": dog + cat})
    voc(tmp_path / "VOC2012", {"trainval": ["e"]}, {"e": dog})
    data = open_source("v", f"voc:{tmp_path}?train=VOC2007/trainval+VOC2012/trainval&test=VOC2007/test")
    assert data.object_classes == ("cat", "dog") and {k: len(s) for k, s in data.splits.items()} == {
        "train": 3,
        "test": 2,
    }
    assert data.splits["train"].ids[2].as_py() == "VOC2012/JPEGImages/e.jpg"
    reader = travelled(data.splits["test"].objects)
    found = reader.objects(0)
    assert found.boxes.tolist() == [[0, 1, 10, 8], [3, 1, 10, 8]] and found.labels.tolist() == [1, 0]
    assert found.difficult.tolist() == [False, True] and found.segments is None and found.areas.tolist() == [70, 49]
    assert len(reader.objects(1)) == 0


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (OBJECT.format(name="dog", difficult=0, xmin=20), r"object 0 \(dog\) of .*a.xml"),
        (OBJECT.format(name="dog", difficult=0, xmin="x"), r"a.xml"),
        ("<object><name>dog</name></object>", r"a.xml: no bndbox/xmin"),
        ("<object>", r"a.xml"),
    ],
)
def test_wrong_xml_is_named(tmp_path: Path, objects: str, words: str) -> None:
    voc(tmp_path, {"train": ["a"], "val": ["b"]}, {"a": objects, "b": OBJECT.format(name="dog", difficult=0, xmin=1)})
    with pytest.raises(DataError, match=words):
        open_source("v", f"voc:{tmp_path}")


def test_a_list_that_is_missing_names_the_nearest(tmp_path: Path) -> None:
    voc(tmp_path, {"trainval": ["a"], "test": ["b"]}, {})
    with pytest.raises(DataError, match=r"tranval.txt; did you mean trainval"):
        open_source("v", f"voc:{tmp_path}?train=tranval&test=test")


@pytest.mark.data
def test_the_real_ones_hold_what_their_authors_say(data_dir: Path) -> None:
    coco128, bccd = data_dir / "coco128", data_dir / "bccd"
    data = open_source("c", f"coco:{coco128}/images/{{split}},{coco128}/instances_{{split}}.json")
    assert {name: len(split.objects.boxes) for name, split in data.splits.items()} == {"train": 746, "val": 712}  # type: ignore[union-attr]
    data = open_source("b", f"voc:{bccd}")
    assert sum(len(split.objects.boxes) for split in data.splits.values()) == 4888  # type: ignore[union-attr]
    assert data.object_classes == ("Platelets", "RBC", "WBC")
