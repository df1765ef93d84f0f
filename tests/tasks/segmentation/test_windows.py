"""Sliding windows are mmsegmentation's, and the class of every pixel is that of the averaged scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from benchmark.data.source import open_source
from tasks.segmentation.crops import Box
from tasks.segmentation.windows import Windowed, cut, joined, placed, scaled_images


def slide(image: torch.Tensor, side: int, seen: list[tuple[int, ...]]) -> torch.Tensor:
    """mmseg's scores (1, C, H, W) of an image whose network gives the pixels themselves as scores."""
    pytest.importorskip("mmcv", reason="the dense extra is not installed")
    from tasks.openmmlab.ops import provide

    provide()
    from mmseg.models.segmentors import EncoderDecoder

    def network(crop: torch.Tensor, metas: object) -> torch.Tensor:
        seen.append(tuple(crop.shape[2:]))
        return small(crop)

    stride = side * 2 // 3
    model = SimpleNamespace(
        test_cfg=SimpleNamespace(stride=(stride, stride), crop_size=(side, side)),
        out_channels=image.shape[1] * 2,
        encode_decode=network,
    )
    return EncoderDecoder.slide_inference(model, image, [{}])


def coarse(crops: torch.Tensor) -> torch.Tensor:
    """Scores (n, 6, 4, 4) of crops (n, 3, S, S): something that depends on the whole crop."""
    maps = interpolate(crops, (4, 4), mode="area")
    return torch.cat([maps, maps.flip(-1) * crops.mean(dim=(1, 2, 3), keepdim=True)], dim=1)


def small(crops: torch.Tensor) -> torch.Tensor:
    return interpolate(coarse(crops), crops.shape[2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(24, 24), (24, 33), (50, 24), (61, 77), (40, 41), (24, 40)])
def test_windows_are_placed_and_averaged_as_by_mmseg(size: tuple[int, int]) -> None:
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    boxes = placed(size, 24)
    seen: list[tuple[int, ...]] = []
    expected = slide(image, 24, seen)
    assert len(seen) == len(boxes) and set(seen) == {(24, 24)}
    found = Windowed([coarse(cut(image[0], boxes, (0, 0, 0)))], boxes, size)
    torch.testing.assert_close(torch.stack([found.plane(index) for index in range(6)]), expected[0])
    whole = interpolate(expected, (97, 64), mode="bilinear", align_corners=False)[0].argmax(dim=0)
    assert (joined(found, (97, 64)) == whole).float().mean() > 0.9999


def test_maps_of_several_sizes_are_added_window_by_window() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = placed((30, 44), 24)
    fine, rough = torch.randn(len(boxes), 5, 6, 6, generator=generator), torch.randn(len(boxes), 5, 3, 3)
    enlarged = sum(interpolate(each, (24, 24), mode="bilinear", align_corners=False) for each in (fine, rough))
    one = Windowed([fine, rough], boxes, (30, 44))
    other = Windowed([enlarged], boxes, (30, 44))
    for index in range(5):
        torch.testing.assert_close(one.plane(index), other.plane(index))


def test_an_image_smaller_than_a_window_is_padded_and_the_padding_cut_off() -> None:
    (box,) = placed((10, 17), 24)
    assert box == Box(0, 0, 24, 24)
    image = torch.arange(3 * 170, dtype=torch.int32).remainder(251).to(torch.uint8).reshape(3, 10, 17)
    pixels = cut(image, [box], (7, 8, 9))
    assert torch.equal(pixels[0, :, :10, :17], image) and pixels[0, :, 10:].flatten(1).unique(dim=1).tolist() == [
        [7],
        [8],
        [9],
    ]
    scores = torch.rand(1, 2, 24, 24)
    found = Windowed([scores], (box,), (10, 17))
    torch.testing.assert_close(found.plane(1), scores[0, 1, :10, :17])
    assert torch.equal(joined(found, (10, 17)), scores[0, :, :10, :17].argmax(dim=0))


def test_every_pixel_is_seen_and_windows_stay_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        side = int(rng.integers(3, 40))
        size = (int(rng.integers(side, 120)), int(rng.integers(side, 120)))
        seen = np.zeros(size, int)
        for box in placed(size, side):
            assert box.top >= 0 and box.left >= 0 and box.top + side <= size[0] and box.left + side <= size[1]
            seen[box.top : box.top + side, box.left : box.left + side] += 1
        assert seen.min() >= 1
    assert [(box.top, box.left) for box in placed((512, 683), 512)] == [(0, 0), (0, 171)]
    assert 512 * 2 // 3 == 341


def test_images_come_in_order_at_the_scale_of_the_protocol() -> None:
    test = open_source("s", "scenes:?train=4&test=5&classes=4&size=40").splits["test"]
    found = list(scaled_images(test, 60, 240, workers=2))
    assert [tuple(image.shape) for image in found] == [(3, 60, 60)] * 5
    again = list(scaled_images(test, 40, 160, workers=0))
    for index, image in enumerate(again):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(test.reader.read(index)))
