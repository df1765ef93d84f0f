"""Training views are those of mmsegmentation's pipeline, and a stream of them goes on where it was left."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.annotations import IGNORE
from benchmark.data.source import open_source
from benchmark.errors import DataError
from tasks.segmentation.colours import Distortion, distorted, drawn_distortion, hsv, rgb
from tasks.segmentation.crops import (
    Box,
    Draw,
    ViewSettings,
    drawn_box,
    drawn_view,
    image_of,
    padding_colour,
    picked,
    resized,
    scaled,
    training_views,
    view,
)

SETTINGS = ViewSettings(name="p", size=32, short=32, long=128, batch=4)
WHITE = Preprocessing(size=(32, 32), mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def transforms() -> Any:
    """mmseg's, which need mmcv's operators to be provided first."""
    pytest.importorskip("mmcv", reason="the dense extra is not installed")
    from tasks.openmmlab.ops import provide

    provide()
    import mmcv.transforms
    from mmseg.datasets.transforms import PhotoMetricDistortion, RandomCrop

    return PhotoMetricDistortion, RandomCrop, mmcv.transforms


@pytest.mark.parametrize("old", [(48, 64), (64, 48), (31, 90), (200, 150)])
@pytest.mark.parametrize("ratio", [0.5, 0.83, 1.0, 1.9])
def test_resize_crop_and_flip_are_those_of_mmseg(old: tuple[int, int], ratio: float) -> None:
    _, crop, mmcv = transforms()
    image, mask = photo(*old), np.random.default_rng(1).integers(0, 200, old, dtype=np.uint8)
    scale = (int(256 * ratio), int(64 * ratio))
    results = mmcv.Resize(scale=scale, keep_ratio=True).transform(
        {"img": image, "gt_seg_map": mask, "gt_bboxes": None, "gt_keypoints": None, "seg_fields": ["gt_seg_map"]}
    )
    size = scaled(*old, scale[1], scale[0])
    assert results["img"].shape[:2] == size
    box = drawn_box(mask.astype(np.uint16), size, 40, 0.75, np.random.default_rng(2))
    cut = crop(crop_size=(40, 40))
    edges = (box.top, box.top + 40, box.left, box.left + 40)
    theirs, labels = (cut.crop(results[name], edges)[:, ::-1] for name in ("img", "gt_seg_map"))
    mine, classes = view(image, mask.astype(np.uint16), Draw(size, box, True, None), 40, (7, 8, 9))
    height, width = theirs.shape[:2]
    # OpenCV multiplies with weights of 11 bits: a grey level of rounding
    assert np.abs(mine[:, :height, :width].transpose(1, 2, 0).astype(int) - theirs).max() <= 1
    clear = np.ones(size, bool)  # where the corner of a new pixel lies on the edge of two old ones, rounding decides
    clear[np.arange(size[0]) * old[0] % size[0] == 0] = False
    clear[:, np.arange(size[1]) * old[1] % size[1] == 0] = False
    clear = cut.crop(clear, edges)[:, ::-1]
    assert np.array_equal(classes[:height, :width][clear], labels[clear])
    assert (classes[height:] == IGNORE).all() and (classes[:, width:] == IGNORE).all()
    assert (mine[:, height:] == np.array([7, 8, 9])[:, None, None]).all()


def test_a_crop_is_the_crop_of_the_whole() -> None:
    image, size = photo(37, 53), (80, 115)
    whole, box = resized(image, size), Box(11, 60, 30, 55)
    assert np.array_equal(resized(image, size, box), whole[11:41, 60:115])
    mask = image[..., 0].astype(np.uint16)
    assert np.array_equal(picked(mask, size, box), picked(mask, size)[11:41, 60:115])
    assert np.array_equal(resized(image, (37, 53)), image) and np.array_equal(picked(mask, (37, 53)), mask)


@dataclass
class Offsets:
    """Numbers that were drawn before."""

    left: list[int]

    def integers(self, below: int) -> int:
        return self.left.pop(0) % below


def test_crops_are_drawn_again_as_mmseg_does_until_no_class_has_most_of_it() -> None:
    """The same offsets, drawn from the same numbers, are accepted or refused alike."""
    _, crop, _ = transforms()
    rng = np.random.default_rng(0)
    mask = np.full((60, 90), 3, np.uint8)
    mask[:, 70:] = rng.integers(0, 5, (60, 20))
    mask[:20] = 255
    wide = np.where(mask == 255, IGNORE, mask.astype(np.uint16)).astype(np.uint16)
    cut = crop(crop_size=(32, 32), cat_max_ratio=0.75)
    seen = set()
    for seed in range(40):
        offsets = np.random.default_rng(seed).integers(0, 2**30, 100).tolist()

        script, mine = Offsets(list(offsets)), Offsets(list(offsets))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np.random, "randint", lambda low, high, script=script: script.integers(high))
            top, _, left, _ = cut.crop_bbox({"img": np.zeros((60, 90, 3)), "gt_seg_map": mask})
        box = drawn_box(wide, (60, 90), 32, 0.75, mine)  # type: ignore[arg-type]
        assert (box.top, box.left) == (top, left) and len(mine.left) == len(script.left)
        seen.add(100 - len(mine.left))
    assert len(seen) > 3  # some were taken at once, others after several draws


@pytest.mark.parametrize(
    "how",
    [
        Distortion(brightness=-17.3),
        Distortion(contrast=1.37, contrast_first=True),
        Distortion(brightness=31.0, contrast=0.61),
        Distortion(saturation=0.57),
        Distortion(saturation=1.49, contrast=1.2, contrast_first=True),
        Distortion(hue=-18),
        Distortion(brightness=9.0, hue=17),
        Distortion(),
    ],
)
def test_colours_are_distorted_as_by_mmseg_within_a_grey_level(how: Distortion) -> None:
    distortion, _, _ = transforms()
    image = photo(64, 64)
    script: list[tuple[str, float]] = []
    parts = {"brightness": how.brightness, "saturation": how.saturation, "hue": how.hue}
    contrast = [("randint", int(how.contrast is not None))]
    contrast += [("uniform", how.contrast)] if how.contrast is not None else []
    for part, value in parts.items():
        script.append(("randint", int(value is not None)))
        if value is not None:
            script.append(("randint" if part == "hue" else "uniform", value))
        if part == "brightness":
            script.append(("randint", int(how.contrast_first)))
            script += contrast if how.contrast_first else []
    script += [] if how.contrast_first else contrast

    class Scripted:
        def randint(self, *limits: int) -> int:
            kind, value = script.pop(0)
            assert kind == "randint"
            return int(value)

        def uniform(self, *limits: float) -> float:
            kind, value = script.pop(0)
            assert kind == "uniform"
            return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmseg.datasets.transforms.transforms.random", Scripted())
        theirs = distortion().transform({"img": image[..., ::-1].copy()})["img"][..., ::-1]
    assert not script
    worst = 2 if how.contrast and not how.contrast_first and how.contrast > 1 else 1
    assert np.abs(distorted(image, how).astype(int) - theirs).max() <= worst


def test_hue_saturation_and_value_are_those_of_8_bit_opencv_and_lead_back() -> None:
    cv2 = pytest.importorskip("cv2")
    image = photo(256, 256)
    for mine, theirs in zip(hsv(image), cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV)), strict=True):
        assert np.array_equal(mine, theirs)
    back = rgb(*hsv(image)).astype(int) - image
    assert np.abs(back).max() <= 5 and np.abs(back).mean() < 1  # what 180 steps of hue can hold
    grey = np.repeat(photo(16, 16)[..., :1], 3, axis=-1)
    assert np.array_equal(rgb(*hsv(grey)), grey)


def test_distortions_are_as_frequent_and_as_strong_as_promised() -> None:
    draws = np.random.default_rng(0)
    found = [drawn_distortion(draws) for _ in range(2000)]
    for part, low, high in (
        ("brightness", -32, 32),
        ("contrast", 0.5, 1.5),
        ("saturation", 0.5, 1.5),
        ("hue", -18, 17),
    ):
        values = [getattr(one, part) for one in found if getattr(one, part) is not None]
        assert 900 < len(values) < 1100 and low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    assert 900 < sum(one.contrast_first for one in found) < 1100


def test_sizes_follow_the_ratio_and_the_flip_its_share() -> None:
    draws, mask = np.random.default_rng(0), np.zeros((300, 400), np.uint16)
    settings = ViewSettings(name="p", cat_max_ratio=1.0)
    found = [drawn_view(mask, settings, 512, draws) for _ in range(400)]
    shorts = np.array([one.size[0] for one in found])
    assert 256 <= shorts.min() < 270 and 1000 < shorts.max() <= 1024
    assert np.percentile(shorts, 50) == pytest.approx(640, abs=40)  # uniform in the ratio
    assert all(abs(one.size[1] / one.size[0] - 4 / 3) < 0.01 for one in found)
    assert 0.4 < np.mean([one.mirrored for one in found]) < 0.6
    assert scaled(300, 400, 512, 2048) == (512, 683) and scaled(100, 1000, 512, 2048) == (205, 2048)


def test_a_stream_goes_on_from_any_view_whatever_the_workers() -> None:
    train = open_source("s", "scenes:?train=10&test=4&classes=4&size=40").splits["train"]
    whole = list(itertools.islice(training_views(train, SETTINGS, WHITE, seed=3, workers=0), 6))
    later = list(itertools.islice(training_views(train, SETTINGS, WHITE, seed=3, first=12, workers=2), 3))
    for (images, masks), (again, labels) in zip(whole[3:], later, strict=True):
        assert torch.equal(images, again) and torch.equal(masks, labels)
        assert images.shape == (4, 3, 32, 32) and images.dtype == torch.uint8 and masks.dtype == torch.int32
    other = next(training_views(train, SETTINGS, WHITE, seed=4, workers=0))
    assert not torch.equal(whole[0][0], other[0])


def test_every_epoch_shows_every_image_once_in_another_order() -> None:
    epochs = [[image_of(sample, 50, 7) for sample in range(start, start + 50)] for start in (0, 50, 100)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_masks_stay_with_their_images() -> None:
    """Without distortion, a calm scene's pixels of one class have colours that the other classes have not."""
    train = open_source("s", "scenes:?train=10&test=4&classes=4&size=64&difficulty=0").splits["train"]
    settings = SETTINGS.model_copy(update={"photometric": False, "ratios": (1.0, 1.0), "short": 64, "cat_max_ratio": 1})
    images, masks = next(training_views(train, settings, WHITE.cut_by_protocol((64, 64)), seed=0, workers=0))
    for place in range(4):
        index = image_of(place, 10, 0)
        original, truth = np.asarray(train.reader.read(index)), train.masks.mask(index)
        found, labels = images[place].permute(1, 2, 0).numpy(), masks[place].numpy()
        straight = np.array_equal(found, original)
        assert straight != np.array_equal(found, original[:, ::-1])
        assert np.array_equal(labels, truth if straight else truth[:, ::-1])


def test_padding_is_the_colour_that_the_encoder_subtracts() -> None:
    assert padding_colour(Preprocessing()) == (124, 116, 104)
    assert padding_colour(Preprocessing(mean=(104, 116, 124), std=(1, 1, 1), value_range=255, channel_order="bgr")) == (
        124,
        116,
        104,
    )


def test_an_image_that_cannot_be_read_stops_the_stream_in_one_line() -> None:
    train = open_source("s", "scenes:?train=10&test=4&classes=4&size=40").splits["train"]

    class Broken:
        def __len__(self) -> int:
            return 10

        def read(self, index: int) -> Any:
            raise DataError("an image", f"{index} is empty", "replace it")

    with pytest.raises(DataError, match="is empty"):
        next(training_views(replace(train, reader=Broken()), SETTINGS, WHITE, seed=0, workers=1))
