from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.data.scenes.layout import MARGIN, MIN_AREA
from benchmark.data.scenes.options import SceneOptions
from benchmark.data.scenes.render import Scene
from benchmark.data.scenes.source import SceneReader
from benchmark.data.source import open_source
from tests.data.conftest import travelled


def _reader(n: int = 40, split: str = "train", **options: Any) -> SceneReader:
    return SceneReader(split, n, SceneOptions.model_validate(options))


def _scenes(n: int, **options: Any) -> list[Scene]:
    reader = _reader(n, **options)
    return [reader.scene(index) for index in range(n)]


def test_pixels_are_the_same_on_every_machine_and_library_version() -> None:
    """The digests were taken once; a change of the renderer that moves them must raise RENDERER_VERSION."""
    expected = {"default": "87115cc42eebe2c9", "hard": "3dcb3c95b9582b0c"}
    for name, options in {"default": {}, "hard": {"difficulty": 1, "seed": 5, "kinds": "b", "size": 48}}.items():
        digest = hashlib.sha256()
        for scene in _scenes(12, **options):
            digest.update(scene.image.tobytes() + scene.instance_masks.tobytes() + scene.boxes.astype("<i8").tobytes())
        assert digest.hexdigest()[:16] == expected[name]


def test_an_image_depends_on_its_place_alone() -> None:
    few, many = _reader(20, train=20), travelled(_reader(500, train=500, test=77))
    many.scene(3)
    np.testing.assert_array_equal(few.scene(7).image, many.scene(7).image)
    np.testing.assert_array_equal(np.asarray(few.read(7)), few.scene(7).image)
    images = [few.scene(7), few.scene(17), _reader(20, "test").scene(7), _reader(20, seed=1).scene(7)]
    assert len({scene.image.tobytes() for scene in images}) == 4


VARIED = [{}, {"difficulty": 0}, {"difficulty": 1}, {"size": 101, "classes": 30}, {"size": 32}]


@pytest.mark.parametrize("options", VARIED)
def test_boxes_masks_and_kinds_agree(options: dict[str, float]) -> None:
    for scene in _scenes(40, **options):
        size = scene.image.shape[0]
        assert scene.image.shape == (size, size, 3)
        assert scene.image.dtype == np.uint8
        assert scene.kinds[0] == scene.label
        assert (scene.kinds[1:] != scene.label).all()
        assert scene.instance_masks.sum(0).max() <= 1
        expected = np.zeros((size, size), np.uint8)
        for box, kind, mask in zip(scene.boxes, scene.kinds, scene.instance_masks, strict=True):
            ys, xs = np.nonzero(mask)
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            expected[ys, xs] = kind + 1
        np.testing.assert_array_equal(scene.semantic, expected)


@pytest.mark.parametrize("options", [{"difficulty": d, "size": s} for d in (0, 0.5, 1) for s in (32, 64)])
def test_the_subject_is_the_largest_by_a_margin_and_everything_stays_visible(options: dict[str, float]) -> None:
    for scene in _scenes(80, **options):
        areas = scene.instance_masks.sum((1, 2))
        assert areas.min() >= MIN_AREA * scene.semantic.size
        assert len(areas) == 1 or areas[0] >= MARGIN * areas[1:].max()


def test_masks_lie_where_the_objects_are_drawn() -> None:
    """Colours jump across the outlines of the masks far more than they do within the ground."""
    reader = _reader(30, difficulty=0)
    for index in range(30):
        scene = reader.scene(index)
        image, inside = scene.image.astype(float), scene.semantic > 0
        step = np.abs(np.diff(image, axis=1)).sum(2)
        outline = inside[:, 1:] != inside[:, :-1]
        assert step[outline].mean() > 1.5 * step[~inside[:, 1:] & ~inside[:, :-1]].mean()


def test_classes_are_balanced_and_splits_differ() -> None:
    dataset = open_source("s", "scenes:?classes=6&train=61&test=24&val=12&size=32")
    counts = {name: np.bincount(split.targets, minlength=6) for name, split in dataset.splits.items()}
    assert max(np.ptp(count) for count in counts.values()) <= 1
    assert dataset.reported == "test"
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [61, 12, 24]
    reader = dataset.splits["test"].reader
    assert isinstance(reader, SceneReader)
    scene = reader.scene(5)
    assert scene.label == dataset.splits["test"].targets[5]


def test_multi_label_targets_are_the_visible_kinds() -> None:
    dataset = open_source("s", "scenes:?classes=5&train=40&test=20&size=32&multilabel=true")
    split = dataset.splits["train"]
    assert isinstance(split.reader, SceneReader)
    assert dataset.multilabel
    assert split.targets.shape == (40, 5)
    for index in range(40):
        scene = split.reader.scene(index)
        assert set(np.flatnonzero(split.targets[index])) == set(np.unique(scene.semantic)[1:].astype(int) - 1)
    assert 1.3 < split.targets.sum(1).mean() < 4


def test_the_fingerprint_knows_every_option_that_changes_a_split() -> None:
    base = "scenes:?classes=5&train=20&test=10&size=32"
    reference = open_source("s", base).splits["train"].fingerprint
    assert open_source("other name", base).splits["train"].fingerprint == reference
    assert open_source("s", base.replace("test=10", "test=12")).splits["train"].fingerprint == reference
    changes = ("seed=1", "difficulty=0.6", "kinds=b", "multilabel=true")
    others = [open_source("s", f"{base}&{change}").splits["train"].fingerprint for change in changes]
    assert len({reference, *others}) == 5


def test_the_dial_adds_objects_hides_the_subject_and_faints_it() -> None:
    """The same scenes at five settings: clutter rises, the subject's share and its contrast to the ground fall."""
    objects, share, roughness = [], [], []
    for difficulty in (0, 0.25, 0.5, 0.75, 1):
        scenes = _scenes(120, difficulty=difficulty)
        objects.append(np.mean([len(scene.kinds) for scene in scenes]))
        share.append(np.mean([scene.instance_masks[0].mean() for scene in scenes]))
        rough = []
        for scene in scenes:
            step = np.abs(np.diff(scene.image.astype(float), axis=1)).mean(2)
            rough.append(step[scene.semantic[:, 1:] == 0].mean() / step[scene.instance_masks[0][:, 1:]].mean())
        roughness.append(np.mean(rough))
    assert objects == sorted(objects)
    assert share == sorted(share, reverse=True)
    assert roughness == sorted(roughness)
    assert objects[0] == 1
    assert objects[-1] > 3.5


def _untrained_features(images: np.ndarray) -> np.ndarray:
    """Global average of a random four-layer convolutional network, (N, 128)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    for width in (16, 32, 64, 128):
        weight = torch.randn(width, x.shape[1], 3, 3, generator=generator) * (2 / (9 * x.shape[1])) ** 0.5
        x = torch.nn.functional.conv2d(x, weight, stride=2, padding=1).relu()
    return x.mean((2, 3)).numpy()


def test_what_has_learned_nothing_is_near_chance() -> None:
    """Ten classes: 10% is chance. Raw pixels, colours and random networks all stay below 20%."""
    train = np.stack([scene.image for scene in _scenes(600)])
    test_reader = _reader(400, "test")
    test = np.stack([test_reader.scene(index).image for index in range(400)])
    y, y_test = np.arange(600) % 10, np.arange(400) % 10

    def histogram(images: np.ndarray) -> np.ndarray:
        codes = (images >> 6).astype(int) @ [16, 4, 1]
        return np.stack([np.bincount(code.ravel(), minlength=64) for code in codes]) / codes[0].size

    def linear(f: np.ndarray, g: np.ndarray) -> float:
        return float(
            make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200)).fit(f, y).score(g, y_test)
        )

    thumbs, thumbs_test = (x[:, ::4, ::4].reshape(len(x), -1).astype(float) for x in (train, test))
    scores = {
        "raw pixels, k-NN": KNeighborsClassifier(10).fit(thumbs, y).score(thumbs_test, y_test),
        "mean colour": linear(train.mean((1, 2)), test.mean((1, 2))),
        "colour histogram": linear(histogram(train), histogram(test)),
        "random network": linear(_untrained_features(train), _untrained_features(test)),
    }
    assert {name: score for name, score in scores.items() if score > 0.2} == {}


def test_the_area_of_the_subject_does_not_tell_its_kind() -> None:
    area = np.array([[scene.instance_masks[0].mean()] for scene in _scenes(600, size=32)])
    y = np.arange(600) % 10
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(30)).fit(area[:400], y[:400])
    assert model.score(area[400:], y[400:]) < 0.2
