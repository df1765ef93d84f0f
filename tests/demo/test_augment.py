"""Random views keep their promises: shapes, range, seeds, and each map of colours against a reference."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms import functional as tv

from benchmark.demo.augment import Augmentation, crop_and_flip, gaussian_blur, luma, recolour

ALL = Augmentation(area=(0.3, 1.0), jitter=0.4, hue=0.5, grey=0.2, blur=0.5, size=24)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(16, 3, 32, 32, generator=draws(7))


def test_views_are_images_of_the_wanted_size_in_range(images: torch.Tensor) -> None:
    views = ALL(images, draws())
    assert views.shape == (16, 3, 24, 24)
    assert views.isfinite().all()
    assert float(views.min()) >= 0
    assert float(views.max()) <= 1 + 1e-6


def test_a_seed_fixes_every_view_and_another_changes_them_all(images: torch.Tensor) -> None:
    first, again, other = (ALL(images, draws(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert bool(((first - other).abs().amax((1, 2, 3)) > 0.01).all())


def test_images_of_a_batch_get_views_of_their_own() -> None:
    same = torch.rand(1, 3, 32, 32, generator=draws()).expand(16, -1, -1, -1)
    views = ALL(same, draws())
    distances = torch.cdist(views.flatten(1), views.flatten(1)) + torch.eye(16) * 1e6
    assert float(distances.min()) > 0.5


def test_crops_show_a_part_of_the_image_and_half_of_them_its_mirror_image() -> None:
    size = 64
    across = torch.linspace(0, 1, size).expand(256, 3, size, size)  # the value is the position
    views = crop_and_flip(across, (0.5, 0.5), size, draws())
    left, right = views[:, 0, 0, 0], views[:, 0, 0, -1]
    mirrored = (left > right).float().mean()
    widths = (left - right).abs()
    assert 0.4 < float(mirrored) < 0.6
    # Half of the area with an aspect of 3:4 to 4:3: widths from sqrt(0.5 * 0.75) to sqrt(0.5 / 0.75), less a pixel.
    assert float(widths.min()) > 0.5**0.5 * 0.75**0.5 - 2 / size
    assert float(widths.max()) < (0.5 / 0.75) ** 0.5
    assert float(widths.std()) > 0.03


def test_blur_is_the_gaussian_of_torchvision() -> None:
    images = torch.rand(4, 3, 24, 24, generator=draws(5))
    blurred = gaussian_blur(images, draws(9))
    sigmas = torch.rand(4, generator=draws(9)) * (1.2 - 0.3) + 0.3
    for image, sigma, found in zip(images, sigmas.tolist(), blurred, strict=True):
        torch.testing.assert_close(found, tv.gaussian_blur(image, [7, 7], [sigma, sigma]), atol=1e-5, rtol=1e-4)


def test_luma_is_the_grey_of_torchvision(images: torch.Tensor) -> None:
    torch.testing.assert_close(luma(images), tv.rgb_to_grayscale(images), atol=1e-3, rtol=0)


def test_recolouring_by_nothing_changes_nothing(images: torch.Tensor) -> None:
    torch.testing.assert_close(recolour(images, 0.0, 0.0, draws()), images, atol=1e-5, rtol=0)


def test_recolouring_is_brightness_contrast_and_saturation_one_after_the_other() -> None:
    images = torch.rand(8, 3, 16, 16, generator=draws(2)) * 0.2 + 0.4  # far from the ends, where nothing is clipped
    found = recolour(images, 0.3, 0.0, draws(4))
    generator = draws(4)
    brightness, contrast, saturation = (torch.rand(8, generator=generator) * 0.6 + 0.7 for _ in range(3))
    for image, b, c, s, view in zip(images, brightness, contrast, saturation, found, strict=True):
        expected = tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(image, b), c), s)
        torch.testing.assert_close(view, expected, atol=2e-3, rtol=0)


def test_the_hue_turns_about_the_grey_axis() -> None:
    red, grey = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.4, 0.4, 0.4])
    images = torch.stack([red, grey]).view(2, 3, 1, 1).expand(-1, -1, 4, 4)
    found = recolour(images, 0.0, 0.4, draws())
    replay = draws()
    *_, turns = (torch.rand(2, generator=replay) for _ in range(4))
    angle = float(turns[0] * 0.8 - 0.4) * 2 * math.pi
    for channel in range(3):  # (1, 0, 0) turned about (1, 1, 1): component k is (1 + 2 cos(angle - k 120 degrees)) / 3
        expected = (1 + 2 * math.cos(angle - channel * 2 * math.pi / 3)) / 3
        assert float(found[0, channel, 0, 0]) == pytest.approx(min(max(expected, 0), 1), abs=1e-5)
    torch.testing.assert_close(found[1], images[1], atol=1e-5, rtol=0)
