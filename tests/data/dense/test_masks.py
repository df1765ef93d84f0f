"""`masks:` gives every pixel the class that the label map says, and stops where files contradict each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.annotations import IGNORE
from benchmark.data.dataset import Dataset
from benchmark.data.dense.labelmap import load_label_map, shipped
from benchmark.data.source import open_source
from benchmark.errors import DataError
from tests.data.conftest import travelled

RAW = np.array([[0, 7, 7, 9], [0, 9, 255, 9], [7, 7, 0, 0]], np.uint8)


def write(
    root: Path, name: str, raw: np.ndarray = RAW, mode: str | None = None, size: tuple[int, int] | None = None
) -> None:
    """An image and its mask, `root/images/NAME.jpg` and `root/masks/NAME.png`."""
    for folder in ("images", "masks"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    height, width = raw.shape
    pixels = np.random.default_rng(len(name)).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size or (width, height)).save(root / "images" / f"{name}.jpg")
    mask = Image.fromarray(raw)
    (mask if mode is None else mask.convert(mode)).save(root / "masks" / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("train/a", "train/deep/b", "val/c"):
        write(tmp_path, name)
    (tmp_path / "map.json").write_text(json.dumps({"0": "nothing", "7": "road", "9": "sky"}))
    return tmp_path


@pytest.fixture
def opened(root: Path) -> Callable[..., Dataset]:
    def open_(options: str = "&ignore=0", paths: str = "") -> Dataset:
        return open_source("d", f"masks:{paths or f'{root}/images,{root}/masks'}?labels={root}/map.json{options}")

    return open_


def test_values_become_classes_and_the_ignored_ones_none(opened: Callable[..., Dataset]) -> None:
    data = opened()
    assert data.mask_classes == ("road", "sky") and data.kinds == {"masks"} and data.reported == "val"
    assert data.splits["train"].ids.to_pylist() == ["train/a.jpg", "train/deep/b.jpg"]
    masks = travelled(data.splits["train"].masks)
    expected = np.array([[IGNORE, 0, 0, 1], [IGNORE, 1, IGNORE, 1], [0, 0, IGNORE, IGNORE]])
    assert np.array_equal(masks.mask(1), expected) and len(masks) == 2
    assert opened("").mask_classes == ("nothing", "road", "sky")


def test_palettes_and_sixteen_bits_are_numbers_not_colours(root: Path, opened: Callable[..., Dataset]) -> None:
    paletted = Image.fromarray(RAW, "P")
    paletted.putpalette([255 - value for value in range(256) for _ in range(3)])
    paletted.save(root / "masks/train/a.png")
    Image.fromarray(RAW.astype(np.uint16)).save(root / "masks/train/deep/b.png")
    masks = opened().splits["train"].masks
    assert masks is not None
    for index in (0, 1):
        assert masks.mask(index)[0].tolist() == [IGNORE, 0, 0, 1]


def test_every_layout_of_the_field_is_found(root: Path, tmp_path: Path) -> None:
    world = tmp_path / "city"
    for split in ("train", "val", "test"):
        for stem in ("ulm/1", "bonn/2"):
            for kind, end, raw in (("img", "_leftImg8bit.png", None), ("gt", "_gtFine_labelIds.png", RAW)):
                path = world / kind / split / f"{stem}{end}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(raw if raw is not None else np.zeros((*RAW.shape, 3), np.uint8)).save(path)
    data = open_source("c", f"masks:{world}/img,{world}/gt?labels=cityscapes")
    assert set(data.splits) == {"train", "val"}  # the published masks of test are empty
    assert data.mask_classes[:2] == ("road", "sidewalk") and len(data.mask_classes) == 19
    masks = data.splits["val"].masks
    assert masks is not None and masks.mask(0)[0].tolist() == [IGNORE, 0, 0, IGNORE]  # 7 is road, 9 parking

    (root / "lists").mkdir()
    for stem in ("p", "q", "r"):
        write(root / "voc", stem, np.minimum(RAW, 20))
    (root / "voc/train.txt").write_text("q\nr 1\n")
    (root / "voc/val.txt").write_text("p\n")
    data = open_source("v", f"masks:{root}/voc/images,{root}/voc/masks?labels=voc&train=train.txt&val=val.txt")
    assert data.splits["train"].ids.to_pylist() == ["q.jpg", "r.jpg"] and data.splits["val"].ids.to_pylist() == [
        "p.jpg"
    ]

    data = open_source(
        "t", f"masks:{root}/images/{{split}},{root}/masks/{{split}}?labels={root}/map.json&train=train&test=val"
    )
    assert set(data.splits) == {"train", "test", "val"} or set(data.splits) == {"train", "test"}
    assert data.reported == "test"


def test_the_fingerprint_follows_masks_and_meaning_and_stored_features_follow_images_only(
    root: Path, opened: Callable[..., Dataset]
) -> None:
    before = opened()
    assert opened().fingerprint == before.fingerprint
    assert opened("").fingerprint != before.fingerprint
    changed = RAW.copy()
    changed[0, 0] = 9
    Image.fromarray(changed).save(root / "masks/val/c.png")
    after = opened()
    assert after.fingerprint != before.fingerprint
    assert after.splits["val"].state == before.splits["val"].state
    write(root, "val/c", RAW[::-1])
    Image.new("RGB", (4, 3), (9, 9, 9)).save(root / "images/val/c.jpg")
    assert opened().splits["val"].state != before.splits["val"].state


def test_a_mask_of_another_size_than_its_image_names_both(root: Path, opened: Callable[..., Dataset]) -> None:
    write(root, "train/a", RAW, size=(5, 3))
    masks = opened().splits["train"].masks
    assert masks is not None
    with pytest.raises(DataError, match=r"4 x 3 in .*masks/train/a.png and 5 x 3 in .*images/train/a.jpg"):
        masks.mask(0)


def test_an_image_stored_on_its_side_is_told_from_one_of_a_wrong_size(
    root: Path, opened: Callable[..., Dataset]
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (3, 4)).save(root / "images/train/a.jpg", exif=exif)
    masks = opened().splits["train"].masks
    assert masks is not None
    with pytest.raises(DataError, match="EXIF"):
        masks.mask(0)
    Image.new("RGB", (4, 3)).save(root / "images/train/a.jpg", exif=exif)  # a mask drawn on the stored pixels fits
    assert masks.mask(0).shape == (3, 4)


def test_a_value_without_a_name_is_refused(root: Path, opened: Callable[..., Dataset]) -> None:
    raw = RAW.copy()
    raw[1] = 33
    write(root, "val/c", raw)
    masks = opened().splits["val"].masks
    assert masks is not None
    with pytest.raises(DataError, match=r"33 at 4 pixels of .*val/c.png; .*ignore=33"):
        masks.mask(0)
    masks = opened("&ignore=0,33").splits["val"].masks
    assert masks is not None and (masks.mask(0)[1] == IGNORE).all()


@pytest.mark.parametrize(
    ("break_", "options", "words"),
    [
        (
            lambda root: (root / "masks/train/a.png").unlink(),
            "",
            r"mask for every file.*none for .*train/a.jpg \(1 such",
        ),
        (lambda root: (root / "images/val/c.jpg").unlink(), "", "files that end in"),
        (lambda root: None, "&labels=ade21k", "given twice"),
        (lambda root: (root / "map.json").write_text("[1]"), "", "label map"),
        (lambda root: (root / "map.json").write_text('{"0": "a", "1": "a"}'), "", "'a' twice"),
        (lambda root: (root / "map.json").write_text('{"0": "a"}'), "", "two classes or more"),
        (lambda root: (root / "map.json").unlink(), "", "label map"),
        (lambda root: None, "&train=trian", "trian"),
        (lambda root: None, "&ignore=x", "ignore"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    root: Path, opened: Callable[..., Dataset], break_: Callable[[Path], object], options: str, words: str
) -> None:
    break_(root)
    with pytest.raises(DataError, match=words) as caught:
        opened(options)
    assert "\n" not in str(caught.value)


def test_unreadable_and_coloured_masks_are_refused(root: Path, opened: Callable[..., Dataset]) -> None:
    masks = opened().splits["train"].masks
    assert masks is not None
    Image.fromarray(RAW).convert("RGB").save(root / "masks/train/a.png")
    with pytest.raises(DataError, match=r"one channel.*a.png with channels RGB"):
        masks.mask(0)
    (root / "masks/train/a.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(DataError, match=r"a.png"):
        masks.mask(0)


def test_without_a_label_map_the_known_ones_are_named(root: Path) -> None:
    with pytest.raises(DataError, match="ade20k, cityscapes"):
        open_source("d", f"masks:{root}/images,{root}/masks")
    with pytest.raises(DataError, match="IMAGES,MASKS"):
        open_source("d", f"masks:{root}/images")


def test_the_shipped_label_maps_are_those_that_mmsegmentation_evaluates() -> None:
    datasets = pytest.importorskip("mmseg.datasets")
    published = {
        "ade20k": datasets.ADE20KDataset,
        "cityscapes": datasets.CityscapesDataset,
        "cityscapes-trainids": datasets.CityscapesDataset,
        "voc": datasets.PascalVOCDataset,
        "cocostuff": datasets.COCOStuffDataset,
        "cocostuff-trainids": datasets.COCOStuffDataset,
    }
    assert set(published) == set(shipped())
    for name, dataset in published.items():
        assert load_label_map(name, (), "").classes == tuple(dataset.METAINFO["classes"])
    ade = load_label_map("ade20k", (), "").table
    assert ade[:3].tolist() == [IGNORE, 0, 1] and ade[150] == 149 and ade[255] == IGNORE  # reduce_zero_label
    stuff = load_label_map("cocostuff", (), "").table
    assert stuff[[0, 10, 12, 181]].tolist() == [0, 10, 11, 170]  # raw values count from 0 over all 182 ids
