"""`seg/linear`: the head, its loss and its rate are those of DINOv2's recipe, and it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from benchmark.features.masks import nearest
from benchmark.metrics.registry import score
from tasks.segmentation.descent import rate
from tasks.segmentation.head import LinearHead, drawn_loss, sampled
from tasks.segmentation.labels import squares_of
from tasks.segmentation.linear import LinearSettings
from tasks.segmentation.scoring import enlarged, pixel_counts, stretched
from tasks.segmentation.task import Segmentation
from tests.tasks.segmentation.worlds import world


def test_the_drawn_loss_is_that_of_the_enlarged_scores():
    torch.manual_seed(0)
    scores, masks = torch.randn(3, 5, 4, 6), torch.randint(0, 5, (3, 16, 20), dtype=torch.uint8)
    masks[:, :3] = 255
    whole = interpolate(scores, (16, 20), mode="bilinear", align_corners=False)
    expected = cross_entropy(whole, masks.long(), ignore_index=255)
    draws = torch.Generator().manual_seed(0)

    def at(*maps: torch.Tensor):
        return lambda grid: torch.stack([sampled(each, grid)[:, :, 0] for each in maps]).sum(dim=0)

    assert float(drawn_loss(at(scores), masks, 255, 0, draws)) == pytest.approx(float(expected), rel=1e-5)
    drawn = [float(drawn_loss(at(scores), masks, 255, 200, draws)) for _ in range(200)]
    assert np.mean(drawn) == pytest.approx(float(expected), abs=4 * np.std(drawn) / 200**0.5)
    # two layers of different sizes: enlarged scores are added
    coarse = torch.randn(3, 5, 2, 3)
    both = whole + interpolate(coarse, (16, 20), mode="bilinear", align_corners=False)
    expected = cross_entropy(both, masks.long(), ignore_index=255)
    assert float(drawn_loss(at(scores, coarse), masks, 255, 0, draws)) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(enlarged([scores[0], coarse[0]], (16, 20)), both[0].argmax(dim=0))


def test_nothing_labelled_gives_no_gradient_and_no_nan():
    scores = torch.randn(1, 3, 2, 2, requires_grad=True)
    nothing = torch.full((1, 4, 4), 255)
    drawn_loss(lambda grid: sampled(scores, grid)[:, :, 0], nothing, 255, 8, torch.Generator()).backward()
    assert scores.grad is not None and not scores.grad.any()


def test_a_head_per_layer_is_the_head_on_their_concatenation():
    torch.manual_seed(0)
    head, maps = LinearHead([3, 5], 4), [torch.randn(6, 3, 4, 4), 7 + 3 * torch.randn(6, 5, 4, 4)]
    norm, conv = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.cat([each.weight for each in head.convs], dim=1))
        conv.bias.copy_(head.convs[0].bias)
    for _ in range(3):  # in training and, with the same running statistics, in evaluation
        (found,) = head(maps)
        torch.testing.assert_close(found, conv(norm(torch.cat(maps, dim=1))))
    head.eval(), norm.eval()
    torch.testing.assert_close(head(maps)[0], conv(norm(torch.cat(maps, dim=1))))


def test_scores_at_points_are_those_of_the_enlarged_maps_whatever_the_order_of_the_work():
    torch.manual_seed(0)
    head = LinearHead([3, 9], 5).eval()  # one map narrower than the classes are many, one wider
    maps = [torch.randn(2, 3, 8, 6), torch.randn(2, 9, 4, 3)]
    whole = sum(interpolate(each, (16, 12), mode="bilinear", align_corners=False) for each in head(maps))
    grid = torch.stack(
        torch.meshgrid((torch.arange(12) + 0.5) / 6 - 1, (torch.arange(16) + 0.5) / 8 - 1, indexing="xy"), -1
    )
    found = head.at(maps, grid.reshape(1, 1, -1, 2).expand(2, -1, -1, -1))
    torch.testing.assert_close(found.unflatten(2, (16, 12)), whole)


def test_the_rate_is_mmcvs_poly_with_linear_warm_up():
    protocol = LinearSettings(name="p", iterations=40_000)
    for step, expected in ((0, 1e-6), (750, (1 - 750 / 40_000) * (1 - 0.5 * (1 - 1e-6))), (1500, 1 - 1500 / 40_000)):
        assert rate(step, protocol) == pytest.approx(expected)
    assert rate(39_999, protocol) == pytest.approx(1 / 40_000)


def test_pixels_are_counted_at_the_resolution_of_the_mask():
    mask = np.array([[0, 1, 1, 65535], [0, 0, 1, 2]], np.uint16)
    guess = torch.tensor([[0, 1, 0, 2], [0, 1, 1, 2]])
    assert pixel_counts(guess, mask, 4).tolist() == [[2, 2, 1, 0], [3, 3, 1, 0], [3, 3, 1, 0]]
    assert stretched(torch.tensor([[0, 1]]), (2, 4)).tolist() == [[0, 0, 1, 1]] * 2


def test_masks_are_squashed_as_pillow_does_it():
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(0, 255, rng.integers(1, 60, 2)).astype(np.uint8)
        size = tuple(int(side) for side in rng.integers(1, 60, 2))
        theirs = image.fromarray(values).resize((size[1], size[0]), image.Resampling.NEAREST)
        clear = [
            (2 * np.arange(new) + 1) * old % (2 * new) != 0 for old, new in zip(values.shape, size, strict=True)
        ]  # Pillow adds steps up: where a centre lies on an edge, rounding decides
        kept = clear[0][:, None] & clear[1]
        np.testing.assert_array_equal(nearest(values, size)[kept], np.asarray(theirs)[kept])


@pytest.mark.parametrize(("name", "layers"), [("seg/linear@tiny", 1), ("seg/linear-4@tiny", 4)])
def test_it_learns_what_the_maps_say_and_repeats_itself(name, layers):
    inputs = world(noise=0.3, layers=layers)
    protocol = Segmentation.protocols[name].model_copy(update={"iterations": 300, "lr": 1e-2})
    found = Segmentation().predict(inputs, protocol, seed=0)
    metrics = {metric.name: metric.value for metric in score(found.table)}
    assert set(metrics) == {"mIoU", "mAcc", "aAcc"} and metrics["mIoU"] > 60
    assert found.selection == "none" and found.details["train_images"] == 24
    assert Segmentation().predict(inputs, protocol, seed=0).table.equals(found.table)
    assert not Segmentation().predict(inputs, protocol, seed=1).table.equals(found.table)


def test_pixels_to_be_ignored_are_neither_learned_nor_scored():
    inputs = world()
    masks = squares_of(inputs.train, inputs.size, 4, 0, lambda *_: None)
    assert masks.values.dtype == torch.uint8 and 0.05 < (masks.values == masks.ignore).float().mean() < 0.2
    found = Segmentation().predict(inputs, LinearSettings(name="p", iterations=2), seed=0)
    labelled = np.array(found.table["labelled"].to_pylist()).sum(axis=1)
    expected = [int((inputs.test.masks.mask(row) != 65535).sum()) for row in range(len(inputs.test))]
    assert labelled.tolist() == expected
