"""Pairs of sources: which images are judged, and which answers count as right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from timm.data import RealLabelsImagenet

from benchmark.data.imagenet import imagenet_classes
from benchmark.data.shift.classmap import class_map, shipped_maps
from benchmark.data.source import open_collection, open_source
from benchmark.errors import DataError
from tests.data.conftest import travelled

WNIDS = tuple(imagenet_classes())


@pytest.fixture
def clean(write_tree: Callable[..., Path]) -> Path:
    files = {
        f"{split}/{label}/{k}.png": 10 * i + k
        for split in ("train", "val")
        for i, label in enumerate("abc")
        for k in range(3)
    }
    return write_tree(files, "clean")


def opened(clean: Path, shifted: Path, more: str = "") -> object:
    return open_source("x", f"shift:?clean=folder:{clean}&shifted=folder:{shifted}{more}")


def test_equal_names_are_equal_classes(clean: Path, write_tree: Callable[..., Path]) -> None:
    sketches = write_tree({"b/1.png": 1, "c/1.png": 2, "c/2.png": 3}, "sketches")
    data = opened(clean, sketches)
    assert data.classes == ("a", "b", "c") and data.shift.classes == ("b", "c")
    assert data.shift.accepted.tolist() == [[False, True, False], [False, False, True]]
    split = travelled(data.splits["shifted"])
    assert split.ids.to_pylist() == ["b/1.png", "c/1.png", "c/2.png"] and split.reader.read(2).size == (8, 8)
    assert data.shift.accepted_of(split.targets).argmax(axis=1).tolist() == [1, 2, 2]
    assert data.reported == "val" and len(data.splits["val"]) == 9
    alone = open_source("y", f"folder:{clean}")
    assert alone.splits["train"].state == data.splits["train"].state  # so features of train are shared
    assert alone.fingerprint != data.fingerprint


def test_a_folder_with_a_test_folder_is_asked_for_that_alone(clean: Path) -> None:
    collection = open_collection("x", f"folder:{clean}")
    assert all(key.startswith("val/") for key in collection.split.ids.to_pylist())


def test_names_that_do_not_match_stop_unless_a_map_says_what_they_are(
    clean: Path, write_tree: Callable[..., Path], tmp_path: Path
) -> None:
    other = write_tree({"b/1.png": 1, "sea/1.png": 2, "sky/1.png": 3}, "other")
    with pytest.raises(DataError, match=r"found 'sea' \(2 of 3 classes\).*map=shared"):
        opened(clean, other)
    shared = opened(clean, other, "&map=shared")
    assert shared.splits["shifted"].ids.to_pylist() == ["b/1.png"]
    assert any("2 of 3 shifted images" in line for line in shared.notices)
    path = tmp_path / "map.yaml"
    path.write_text("classes: {b: b, sea: [a, c]}")
    with pytest.raises(DataError, match="'sky'"):
        opened(clean, other, f"&map={path}")
    path.write_text("classes: {b: b, sea: [a, c]}\nothers: left out\n")
    mapped = opened(clean, other, f"&map={path}")
    assert mapped.shift.accepted.tolist() == [[False, True, False], [True, False, True], [False, False, False]]
    assert mapped.splits["shifted"].ids.to_pylist() == ["b/1.png", "sea/1.png"]
    assert mapped.fingerprint != shared.fingerprint
    for content, complaint in (
        ("classes: {b: z, sea: a, sky: a}", "'z' for 'b'"),
        ("classes: {}", "classes"),
        ("klasses: {b: b}", "klasses"),
        ("[1, 2", "YAML"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=complaint):
            opened(clean, other, f"&map={path}")


def test_other_names_are_not_taken_for_something_else_unless_that_is_said(
    clean: Path, write_tree: Callable[..., Path]
) -> None:
    far = write_tree({"sea/1.png": 2, "sky/1.png": 3}, "far")
    for map_ in ("", "&map=shared"):
        with pytest.raises(DataError, match=r"class names that both sources have; found 'a', .*'sea'.*map=none"):
            opened(clean, far, map_)
    assert opened(clean, far, "&map=none").shift.accepted is None


def test_missing_parts_and_unknown_maps_are_named(clean: Path) -> None:
    with pytest.raises(DataError, match="no shifted="):
        open_source("x", f"shift:?clean=folder:{clean}")
    with pytest.raises(DataError, match=r"'objectnett'.*objectnet"):
        opened(clean, clean, "&map=objectnett")
    with pytest.raises(DataError, match="imagenet-c:PATH"):
        open_source("x", "imagenet-c:/tmp")


def test_folders_named_by_number_are_classes_by_number_and_not_by_their_order() -> None:
    folders = sorted(str(k) for k in range(1000))  # as the folders of ImageNet-V2 sort: 0, 1, 10, 100, ...
    found = class_map("imagenet-index", WNIDS, folders, "x").accepted
    assert found is not None
    assert [WNIDS[row.argmax()] for row in found] == [WNIDS[int(name)] for name in folders]
    with pytest.raises(DataError, match="'1000'"):
        class_map("imagenet-index", WNIDS, ["0", "1000"], "x")


def test_the_published_maps() -> None:
    assert set(shipped_maps()) == {"objectnet", "16-classes"}
    sixteen = [
        "airplane",
        "bear",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "car",
        "cat",
        "chair",
        "clock",
        "dog",
        "elephant",
        "keyboard",
        "knife",
        "oven",
        "truck",
    ]
    found = class_map("16-classes", WNIDS, sixteen, "x")
    assert found.accepted is not None and found.accepted.sum(axis=0).max() == 1
    # counts of Geirhos et al. 2018, whose ImageNet categories are 207 of the thousand classes
    assert found.accepted.sum() == 207 and np.flatnonzero(found.accepted[sixteen.index("bear")]).tolist() == [
        294,
        295,
        296,
        297,
    ]
    assert np.flatnonzero(found.accepted[0]).tolist() == [404]
    objects = class_map("objectnet", WNIDS, ["alarm_clock", "backpack", "air_freshener"], "x")
    assert objects.border == 2 and objects.accepted is not None
    assert np.flatnonzero(objects.accepted[0]).tolist() == [409, 530]  # analog clock; digital clock
    assert np.flatnonzero(objects.accepted[1]).tolist() == [414] and not objects.accepted[2].any()


def test_the_border_of_objectnet_is_cut_off(clean: Path, write_tree: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("classes: {a: a}\nborder: 2\n")
    framed = opened(clean, write_tree({"a/1.png": 1}, "framed"), f"&map={path}").splits["shifted"]
    assert travelled(framed).reader.read(0).size == (4, 4)
    path.write_text("classes: {a: a}\nborder: 4\n")
    with pytest.raises(DataError, match="8x8"):
        opened(clean, write_tree({"a/1.png": 1}, "framed"), f"&map={path}").splits["shifted"].reader.read(0)


def test_reassessed_labels_are_sets_and_images_without_any_are_left_out(write_tree: Callable[..., Path]) -> None:
    real = RealLabelsImagenet([""] * 50_000).real_labels
    first = dict(list(real.items())[:60])
    empty = sum(not labels for labels in first.values())
    several = next(name for name, labels in first.items() if len(labels) > 1)
    assert empty
    train = {f"train/{label}/x.png": 1 for label in WNIDS}
    tree = write_tree({**train, **{f"val/{WNIDS[k % 7]}/{name}": k for k, name in enumerate(first)}}, "imagenet")
    data = opened(tree, tree, "&labels=real")
    split = data.splits["shifted"]
    assert len(split) == 60 - empty and any(f"{empty} of 60" in line for line in data.notices)
    row = [key.rsplit("/")[-1] for key in split.ids.to_pylist()].index(several)
    assert np.flatnonzero(data.shift.accepted_of(split.targets)[row]).tolist() == sorted(first[several])
    strange = write_tree({f"val/{WNIDS[0]}/holiday.png": 1}, "strange")
    with pytest.raises(DataError, match=r"'holiday.png'"):
        opened(tree, strange, "&labels=real")
    with pytest.raises(DataError, match="leave one away"):
        opened(tree, tree, "&labels=real&map=shared")


def test_the_tree_of_imagenet_c(write_tree: Callable[..., Path]) -> None:
    files = {
        f"{c}/{s}/{label}/{k}.png": 1 for c in ("fog", "snow") for s in range(1, 6) for label in "ab" for k in range(2)
    }
    tree = write_tree(files, "c")
    collection = open_collection("x", f"imagenet-c:{tree}")
    assert (
        collection.variants[:2] == ("fog/1", "fog/2")
        and collection.classes == ("a", "b")
        and len(collection.split) == 40
    )
    labels = [key.split("/")[2] for key in collection.split.ids.to_pylist()]
    assert [collection.classes[k] for k in collection.split.targets] == labels
    (tree / "snow/4/b/1.png").unlink()
    with pytest.raises(DataError, match=r"no 'b/1.png' in snow/4"):
        open_collection("x", f"imagenet-c:{tree}")
    (tree / "snow/4").rename(tree / "four")
    with pytest.raises(DataError, match="folders corruption/severity"):
        open_collection("x", f"imagenet-c:{tree}")
    (tree / "four").rename(tree.parent / "four")
    with pytest.raises(DataError, match="no snow/4"):
        open_collection("x", f"imagenet-c:{tree}")
    with pytest.raises(DataError, match="nothing at"):
        open_collection("x", f"imagenet-c:{tree}/none")
