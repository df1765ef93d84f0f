from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.source import open_source
from benchmark.errors import DataError
from tests.data.conftest import encoded, travelled

Write = Callable[..., Path]


def test_ids_targets_and_images_follow_the_tree(tree: Path) -> None:
    dataset = open_source("pets", f"folder:{tree}")
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert dataset.classes == ("cat", "dog")
    assert dataset.reported == "test"
    assert test.ids.to_pylist() == ["test/cat/0.png", "test/cat/1.png", "test/dog/0.png", "test/dog/1.png"]
    assert train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.targets.dtype == np.int64
    reader = travelled(test.reader)
    expected = np.random.default_rng(111).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(reader.read(3)), expected)


def test_test_is_reported_and_val_is_for_selection_where_both_are_there(tree: Path) -> None:
    shutil.copytree(tree / "test", tree / "val")
    dataset = open_source("x", f"folder:{tree}")
    assert dataset.reported == "test"
    assert set(dataset.splits) == {"train", "val", "test"}
    shutil.rmtree(tree / "test")
    assert open_source("x", f"folder:{tree}").reported == "val"
    (tree / "val").rename(tree / "validation")
    assert open_source("x", f"folder:{tree}").splits["val"].ids[0].as_py().startswith("validation/")


def test_folders_can_be_named(tree: Path) -> None:
    (tree / "train").rename(tree / "seen")
    (tree / "test").rename(tree / "unseen")
    dataset = open_source("x", f"folder:{tree}?train=seen&test=unseen")
    assert len(dataset.splits["train"]) == 6
    with pytest.raises(DataError, match="did you mean unseen"):
        open_source("x", f"folder:{tree}?train=seen&test=unsen")


def test_upper_case_nested_and_hidden_files_are_handled_and_stray_ones_are_said(write_tree: Write) -> None:
    root = write_tree(
        {
            "train/a/1.JPG": encoded(1, "jpeg"),
            "train/a/deep/er/2.Png": 2,
            "train/b/1.png": 3,
            "train/b/.hidden.png": b"x",
            "train/b/.cache/9.png": b"x",
            "train/b/notes.txt": b"x",
            "train/list.csv": b"x",
            "test/a/1.png": 4,
            "test/b/1.png": 5,
        }
    )
    dataset = open_source("x", f"folder:{root}")
    assert dataset.splits["train"].ids.to_pylist() == ["train/a/1.JPG", "train/a/deep/er/2.Png", "train/b/1.png"]
    (notice,) = dataset.notices
    assert notice.startswith("2 files of train are no images")
    assert "notes.txt" in notice


def test_linked_folders_that_loop_end(tree: Path) -> None:
    (tree / "train" / "cat" / "again").symlink_to(tree / "train" / "cat", target_is_directory=True)
    assert len(open_source("x", f"folder:{tree}").splits["train"]) == 6


def test_a_split_is_stratified_seeded_and_does_not_move_when_images_are_added(write_tree: Write) -> None:
    counts = {"a": 10, "b": 25, "c": 2}
    files = {f"{c}/{i}.png": 100 * k + i for k, (c, n) in enumerate(counts.items()) for i in range(n)}
    root = write_tree(files)
    dataset = open_source("x", f"folder:{root}?split=0.2&seed=3")
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert np.bincount(test.targets).tolist() == [2, 5, 1]
    assert sorted(train.ids.to_pylist() + test.ids.to_pylist()) == sorted(files)
    again = open_source("x", f"folder:{root}?split=0.2&seed=3").splits["test"]
    assert again.ids.equals(test.ids)
    assert not open_source("x", f"folder:{root}?split=0.2&seed=4").splits["test"].ids.equals(test.ids)
    (root / "c/2.png").write_bytes(encoded(999))
    later = open_source("x", f"folder:{root}?split=0.2&seed=3").splits["test"]
    assert [i for i in later.ids.to_pylist() if i[0] in "ab"] == [i for i in test.ids.to_pylist() if i[0] in "ab"]


BROKEN: dict[str, tuple[dict[str, int | bytes], list[str], str]] = {
    "no train folder": ({"a/1.png": 1, "b/1.png": 2}, [], "add ?split=0.2"),
    "no reported folder": ({"train/a/1.png": 1, "train/b/1.png": 2}, [], "a test or val folder beside train"),
    "images without class folders": ({"train/1.png": 1, "test/a/1.png": 2}, [], "files but no class folders"),
    "one class": ({"train/a/1.png": 1, "test/a/1.png": 2}, [], "at least two classes; found 1 ('a')"),
    "a class that train lacks": (
        {"train/cat/1.png": 1, "train/dog/1.png": 2, "test/cats/1.png": 3},
        [],
        "'cats' in test/ (1 such); did you mean cat?",
    ),
    "a class without images": ({"train/a/1.png": 1, "train/b/1.png": 2, "test/a/1.png": 3}, ["train/c"], "train/c"),
    "a reported class without images": (
        {"train/a/1.png": 1, "train/b/1.png": 2, "test/a/1.png": 3},
        ["test/b"],
        "images in every class folder",
    ),
    "an empty split": ({"train/a/1.png": 1, "train/b/1.png": 2}, ["test"], "a folder per class; found nothing"),
    "two folders for one split": (
        {"train/a/1.png": 1, "train/b/1.png": 2, "val/a/1.png": 3, "validation/a/1.png": 4},
        [],
        "val and validation",
    ),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_tree_is_refused_in_one_line(case: str, write_tree: Write) -> None:
    files, folders, says = BROKEN[case]
    root = write_tree(files)
    for folder in folders:
        (root / folder).mkdir(parents=True)
    with pytest.raises(DataError) as refusal:
        open_source("x", f"folder:{root}")
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_missing_empty_and_contradictory_requests_are_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for text, says in {
        f"folder:{tmp_path}/nowhere": "found nothing at",
        f"folder:{tmp_path}/empty": "an empty folder",
        f"folder:{tree}/train/cat/0.png": "found a file at",
        f"folder:{tree}?split=0.2": "leave split= away",
        f"folder:{tree}?split=1.5": "split='1.5'",
    }.items():
        with pytest.raises(DataError) as refusal:
            open_source("x", text)
        assert says in str(refusal.value)


def test_a_dangling_link_is_named(tree: Path) -> None:
    (tree / "train/cat/9.png").symlink_to(tree / "gone.png")
    with pytest.raises(DataError, match=r"9\.png: No such file"):
        open_source("x", f"folder:{tree}")


def test_a_single_image_cannot_be_split(write_tree: Write) -> None:
    root = write_tree({"a/1.png": 1, "a/2.png": 2, "b/1.png": 3})
    with pytest.raises(DataError, match=r"'b/1\.png'"):
        open_source("x", f"folder:{root}?split=0.5")


def test_a_class_without_reported_images_is_said(tree: Path) -> None:
    shutil.rmtree(tree / "test/dog")
    assert open_source("x", f"folder:{tree}").notices == ("test has no image of 1 of 2 classes: 'dog'",)


def test_images_on_both_sides_are_said_with_their_number_and_the_first_pair(tree: Path) -> None:
    assert open_source("x", f"folder:{tree}").notices == ()  # the same names on both sides mean nothing
    shutil.copy(tree / "train/dog/2.png", tree / "test/dog/copied.png")
    (notice,) = open_source("x", f"folder:{tree}").notices
    assert notice.startswith("1 reported images are in train too")
    assert notice.endswith("first test/dog/copied.png = train/dog/2.png")


@pytest.mark.data
def test_the_real_photographs_open(data_dir: Path) -> None:
    dataset = open_source("clothing10", f"folder:{data_dir / 'clothing10'}")
    assert [len(dataset.splits[s]) for s in ("train", "test")] == [600, 372]
    assert np.bincount(dataset.splits["train"].targets).tolist() == [60] * 10
    assert dataset.splits["test"].reader.read(0).mode == "RGB"
