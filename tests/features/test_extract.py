"""Extraction gives what a plain loop gives, encodes each image once, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision import transforms

from benchmark.backbones.sources import open_backbone
from benchmark.data.source import open_source
from benchmark.errors import DataError
from benchmark.features import store as store_module
from benchmark.features.extract import extract, feature_key
from benchmark.features.store import FeatureStore


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("test", 5)):
        for label in "ab":
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                small = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
                size = (150 + 13 * index, 120 + 7 * index)
                Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(folder / f"{index}.jpg")
    return tmp_path / "photos"


def test_stored_features_equal_a_plain_torchvision_and_timm_loop(photos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.manual_seed(0)
    model = timm.create_model("test_resnet").eval()
    torch.save(model.state_dict(), weights)
    options = ("size=96", "crop_pct=0.875", "mean=0.5", "std=0.25", "interpolation=bicubic")
    backbone = open_backbone(str(weights), arch="test_resnet", preprocess=options)
    split = open_source("p", f"folder:{photos}").splits["train"]
    stored = extract(backbone, split, ["gap"], FeatureStore(tmp_path / "cache"), batch_size=4).features.load("gap")

    plain = transforms.Compose(
        [
            transforms.Resize(int(96 / 0.875), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(96),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )
    paths = [photos / name.as_py() for name in split.ids]
    images = torch.stack([plain(Image.open(path).convert("RGB")) for path in paths])
    with torch.inference_mode():
        expected = model.forward_features(images).mean((2, 3))
    assert torch.allclose(stored, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(store_module, "CHUNK_IMAGES", 32)
    return open_source("s", "scenes:?train=100&test=20&size=32&classes=3").splits["train"]


@pytest.fixture(scope="module")
def backbone() -> object:
    return open_backbone("random:test_vit", preprocess=("size=160", "crop_pct=1"))


def small_backbone() -> object:
    return open_backbone("random:test_resnet", preprocess=("size=32", "crop_pct=1"))


def test_a_second_call_encodes_nothing(scenes, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store, model = FeatureStore(tmp_path), small_backbone()
    first = extract(model, scenes, ["gap"], store)
    second = extract(model, scenes, ["gap"], store)
    assert (first.encoded, second.encoded) == (100, 0)
    assert torch.equal(first.features.load("gap"), second.features.load("gap"))


def test_only_missing_chunks_are_made_again_and_equal_the_first(scenes, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store, model = FeatureStore(tmp_path), small_backbone()
    before = extract(model, scenes, ["gap"], store, batch_size=8).features.load("gap")
    folder = store.folder(feature_key(model, model.preprocessing, scenes)) / "gap"
    (folder / "00001.npy").unlink()
    (folder / "00003.json").unlink()
    again = extract(model, scenes, ["gap"], store, batch_size=8)
    assert again.encoded == 32 + 4
    assert torch.allclose(again.features.load("gap"), before, rtol=1e-3, atol=1e-6)


def test_a_representation_asked_for_later_joins_the_stored_ones(scenes, backbone, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store = FeatureStore(tmp_path)
    extract(backbone, scenes, ["cls"], store)
    both = extract(backbone, scenes, ["cls", "avg"], store)
    assert both.encoded == 100
    assert extract(backbone, scenes, ["avg"], store).encoded == 0
    assert both.features.load("cls").shape == both.features.load("avg").shape


def test_batches_and_workers_give_the_same_features_in_the_same_order(scenes, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = small_backbone()
    one = extract(model, scenes, ["gap"], FeatureStore(tmp_path / "1"), batch_size=1, workers=0).features.load("gap")
    many = extract(model, scenes, ["gap"], FeatureStore(tmp_path / "2"), batch_size=33, workers=2).features.load("gap")
    assert torch.allclose(one, many, rtol=2e-3, atol=1e-5)


def test_unreadable_images_stop_or_are_skipped_and_named(photos: Path, tmp_path: Path) -> None:
    (photos / "train/a/3.jpg").write_bytes(b"")
    split = open_source("p", f"folder:{photos}").splits["train"]
    model = small_backbone()
    with pytest.raises(DataError, match=r"a/3\.jpg"):
        extract(model, split, ["gap"], FeatureStore(tmp_path / "1"))
    kept = extract(model, split, ["gap"], FeatureStore(tmp_path / "2"), on_bad_image="skip").features
    assert [split.ids[i].as_py() for i in kept.skipped] == ["train/a/3.jpg"]
    assert len(kept.load("gap")) == len(split) - 1
    # what was stored under `skip` does not make a later run under `stop` silent
    with pytest.raises(DataError, match=r"a/3\.jpg"):
        extract(model, split, ["gap"], FeatureStore(tmp_path / "2"), on_bad_image="stop")


def test_a_split_without_a_readable_image_is_refused(photos: Path, tmp_path: Path) -> None:
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"x")
    split = open_source("p", f"folder:{photos}").splits["train"]
    with pytest.raises(DataError, match="none of the 18"):
        extract(small_backbone(), split, ["gap"], FeatureStore(tmp_path), on_bad_image="skip")
