"""The class of every pixel, exactly that of the enlarged scores, and what is stored of it."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from benchmark.data.sample import digest_order
from benchmark.features.masks import nearest
from benchmark.metrics.registry import score
from tasks.segmentation.scoring import KEPT_MAPS, Reported, contenders, counted, encoded_map, enlarged, stretched
from tests.tasks.segmentation.worlds import world


def at_once(scores: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    whole = sum(interpolate(each[None], size, mode="bilinear", align_corners=False)[0] for each in scores)
    return whole.argmax(dim=0)


@pytest.mark.parametrize("sizes", [[(7, 9)], [(12, 12), (6, 6), (3, 3)], [(1, 1)], [(5, 1)], [(8, 6), (8, 6)]])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_the_class_of_every_pixel_is_exactly_that_of_the_enlarged_scores(sizes, spread):
    generator = torch.Generator().manual_seed(0)
    for classes in (1, 2, 40):
        likes = spread * torch.randn(classes, 1, 1, generator=generator)
        scores = [torch.randn(classes, *size, generator=generator) + likes for size in sizes]
        for size in ((64, 47), (12, 12), (5, 3), (1, 1)):
            assert torch.equal(enlarged(scores, size), at_once(scores, size))


def test_the_lowest_class_wins_among_equals():
    scores = torch.zeros(6, 4, 4)
    scores[2:5] = 1.5
    assert torch.equal(enlarged([scores], (9, 9)), torch.full((9, 9), 2))
    scores = torch.randint(0, 3, (9, 5, 5), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(enlarged([scores], (5, 5)), scores.argmax(dim=0))


def test_classes_that_are_best_nowhere_are_left_out_and_no_other():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        likes = 8 * torch.randn(60, 1, 1, generator=generator)
        scores = [torch.randn(60, 8, 8, generator=generator) + likes, torch.randn(60, 4, 4, generator=generator)]
        kept = contenders(scores)
        assert set(at_once(scores, (96, 96)).unique().tolist()) <= set(kept) and len(kept) < 40


def test_memory_stays_flat_in_the_number_of_classes():
    peaks = []
    for classes in (20, 200):
        scores = torch.randn(classes, 4, 4)
        with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            enlarged([scores], (256, 256))
        now = peak = 0
        for event in profile.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                peak = max(peak, now)
        peaks.append(peak)
    assert 256 * 256 * 4 < peaks[1] < 1.2 * peaks[0] < 256 * 256 * 4 * 10


def test_a_stored_map_is_the_prediction_within_512_pixels():
    labels = torch.randint(0, 300, (300, 1100), generator=torch.Generator().manual_seed(0))
    for values, classes, dtype in ((labels % 200, 200, np.uint8), (labels, 300, np.uint16)):
        image = np.asarray(Image.open(io.BytesIO(encoded_map(values, classes))))
        assert image.shape == (140, 512) and image.dtype == dtype
        assert np.array_equal(image, nearest(values.numpy(), (140, 512)))
    small = labels[:20, :30] % 7
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded_map(small, 7)))), small.numpy())


def test_maps_of_a_few_images_are_stored_and_no_figure_depends_on_them():
    inputs = world(test=40)
    rng = np.random.default_rng(0)
    guesses = [[torch.from_numpy(rng.integers(0, 4, (16, 16)))] * 2 for _ in range(40)]
    table = counted(Reported.of(inputs), ["", "k3"], guesses, stretched)
    stored = {row["sample"]: row["map"] for row in table.to_pylist() if row["variant"] == "" and row["map"] is not None}
    ids = inputs.test.ids
    assert list(stored) == sorted(stored, key=ids.to_pylist().index)
    assert set(stored) == set(ids.take(pa.array(digest_order(ids)[:KEPT_MAPS])).to_pylist()) and len(stored) == 24
    assert not any(row["map"] for row in table.to_pylist() if row["variant"] == "k3")
    for name, content in stored.items():
        place = ids.to_pylist().index(name)
        expected = stretched(guesses[place][0], inputs.test.masks.mask(place).shape)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), expected.numpy())
    bare = table.drop_columns(["map"])
    assert [(m.name, m.value, m.ci_low) for m in score(bare)] == [(m.name, m.value, m.ci_low) for m in score(table)]
