"""Views hold the objects that the pixels show, and depend on their number and the seed alone."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.data.annotations import Objects
from benchmark.data.dataset import Split
from benchmark.data.runlength import from_run_lengths
from benchmark.data.sample import chosen_images
from benchmark.data.source import open_source
from benchmark.errors import DataError
from tasks.detection.protocols import PROTOCOLS
from tasks.detection.settings import DetectionSettings
from tasks.detection.stream import batches_of, learnable, training_batches
from tasks.detection.views import Views, draw_of

TINY = PROTOCOLS["det/coco-maskrcnn-fpn@tiny"]
JITTER = PROTOCOLS["det/vitdet@tiny"]


@pytest.fixture(scope="module")
def split() -> Split:
    return open_source("scenes", "scenes:?train=12&test=4&classes=4&size=64&difficulty=0.9").splits["train"]


def changed(settings: DetectionSettings, **changes: Any) -> DetectionSettings:
    return settings.model_copy(update=changes)


def arrays(view: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    instances = view["data_samples"].gt_instances
    boxes = instances.bboxes.tensor.numpy()
    masks = instances.masks.masks if "masks" in instances else np.zeros(0)
    return view["inputs"].numpy(), boxes, instances.labels.numpy(), masks


def test_boxes_and_masks_are_scaled_and_mirrored_with_their_pixels(split: Split) -> None:
    """Against the image's own annotation, by hand: a factor of two, and x becomes width - x."""
    views = Views(split, changed(TINY, train_short=(128,), long=400), None, masks=True)
    objects = split.objects.objects(3)
    seen = set()
    for draw in range(12):
        pixels, boxes, labels, masks = arrays(views.training(3, draw))
        mirrored = bool(views.training(3, draw)["data_samples"].flip)
        seen.add(mirrored)
        assert len(objects) > 1
        expected = objects.boxes * 2
        if mirrored:
            expected = expected[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [128, 0, 128, 0]
        assert pixels.shape == (3, 128, 128) and labels.tolist() == objects.labels.tolist()
        np.testing.assert_allclose(boxes, expected, atol=1e-4)
        for mask, runs in zip(masks, objects.segments, strict=True):
            whole = from_run_lengths(runs, objects.size).repeat(2, axis=0).repeat(2, axis=1)
            assert (mask == (whole[:, ::-1] if mirrored else whole)).mean() > 0.99
    assert seen == {False, True}


def test_a_crop_keeps_what_lies_in_it(split: Split) -> None:
    views = Views(split, changed(JITTER, size=48, jitter=(2.0, 3.0)), 48, masks=True)
    lost = 0
    for draw in range(20):
        pixels, boxes, labels, masks = arrays(views.training(1, draw))
        assert pixels.shape == (3, 48, 48) and masks.shape[1:] == (48, 48) and len(boxes) == len(labels) == len(masks)
        lost += len(labels) < len(split.objects.objects(1).labels)
        for box, mask in zip(boxes, masks, strict=True):
            ys, xs = np.nonzero(mask)
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert lost  # at twice and three times the size, some objects are outside


def test_small_jitter_leaves_a_small_image_to_be_padded_on_the_device(split: Split) -> None:
    pixels, *_ = arrays(Views(split, changed(JITTER, size=64, jitter=(0.5, 0.5)), 64, masks=False).training(0, 0))
    assert pixels.shape == (3, 32, 32)


def test_what_is_learned_of_crowds_and_difficult_objects(split: Split) -> None:
    class Marked:
        def __len__(self) -> int:
            return 1

        def size(self, index: int) -> tuple[int, int]:
            return 64, 64

        def count(self, index: int) -> int:
            return 2

        def objects(self, index: int) -> Objects:
            boxes = np.array([[1, 1, 20, 20], [5, 5, 30, 30], [8, 8, 40, 40]], float)
            flags = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], bool)
            return Objects(boxes, np.array([0, 1, 2]), flags[:, 0], flags[:, 1], boxes[:, 2], None, (64, 64))

    marked = Split("train", split.ids[:1], split.targets[:1], split.reader, "", "", objects=Marked())
    for settings, learned, ignored in ((TINY, [0], [1, 2]), (PROTOCOLS["det/voc-c4-24k"], [0, 2], [1])):
        sample = Views(marked, changed(settings, train_short=(64,), long=64), None, False).training(0, 0)[
            "data_samples"
        ]
        assert sample.gt_instances.labels.tolist() == learned
        assert sample.ignored_instances.labels.tolist() == ignored


def test_a_stream_that_goes_on_gives_what_it_would_have_given(split: Split) -> None:
    views = Views(split, changed(TINY, train_short=(64, 96)), None, masks=False)
    whole = list(islice(training_batches(views, 4, seed=5, workers=0, iteration=0), 6))
    rest = list(islice(training_batches(views, 4, seed=5, workers=2, iteration=4), 2))
    for one, other in zip(whole[4:], rest, strict=True):
        for a, b in zip(one["inputs"], other["inputs"], strict=True):
            assert torch.equal(a, b)
    other = next(training_batches(views, 4, seed=6, workers=0, iteration=0))
    pairs = zip(whole[0]["inputs"], other["inputs"], strict=True)
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs)
    assert draw_of(1, 2) != draw_of(2, 1)


def test_every_epoch_shows_every_image_once_wide_with_wide() -> None:
    class Sizes:
        def __len__(self) -> int:
            return 10

        def size(self, index: int) -> tuple[int, int]:
            return (40, 60) if index % 3 else (60, 40)

        def count(self, index: int) -> int:
            return int(index != 7)

    base = open_source("s", "scenes:?train=10&test=2&classes=2&size=32").splits["train"]
    split = Split("train", base.ids, base.targets, base.reader, "", "", objects=Sizes())
    assert learnable(split).tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    batches = list(islice(batches_of(split, 2, seed=0), 9 * 4))
    assert [number for batch in batches for number, _ in batch] == list(range(72))
    for batch in batches:
        assert len({split.objects.size(index) for _, index in batch}) == 1
    counts = np.bincount([index for batch in batches for _, index in batch], minlength=10)
    assert counts[7] == 0 and set(np.delete(counts, 7)) <= {7, 8, 9}


def test_data_without_objects_and_images_of_another_size_are_refused(split: Split) -> None:
    class Empty:
        def count(self, index: int) -> int:
            return 0

    with pytest.raises(DataError, match="objects to learn from"):
        learnable(Split("train", split.ids, split.targets, split.reader, "", "", objects=Empty()))

    class Larger:
        def objects(self, index: int) -> Objects:
            none = np.zeros(0, bool)
            return Objects(np.zeros((0, 4)), np.zeros(0, int), none, none, np.zeros(0), None, (70, 64))

    larger = Split("train", split.ids, split.targets, split.reader, "", "", objects=Larger())
    with pytest.raises(DataError, match="an image of 64 x 70, as annotated; found 64 x 64 in"):
        Views(larger, TINY, None, False).training(0, 0)


def test_chosen_images_keep_their_objects(split: Split) -> None:
    few = chosen_images(split, [2, 5], "a few")
    assert few.objects.objects(1).boxes.tolist() == split.objects.objects(5).boxes.tolist()
    assert few.objects.count(0) == split.objects.count(2) and few.objects.size(0) == (64, 64)
