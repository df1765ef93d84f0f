"""Colours against Pillow, torchvision and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import adjust_hue

from tasks.changes.colour import grey, histogram, turn_hue


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Noise, all pairs of equal and unequal levels, grey, and the corners of the cube."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (4, 3, 90, 110), generator=generator, dtype=torch.uint8)
    noise[1, 2] = noise[1, 1]
    noise[2] = noise[2, :1]
    noise[3] = (noise[3] > 127).to(torch.uint8) * 255
    return noise


def test_grey_is_pillows_to_the_last_bit(images: Tensor) -> None:
    found = grey(images).numpy()
    for ours, image in zip(found, images, strict=True):
        theirs = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        for channel in ours:
            np.testing.assert_array_equal(channel, theirs)


@pytest.mark.parametrize("degrees", range(0, 421, 60))
def test_hues_are_turned_as_torchvision_turns_them(images: Tensor, degrees: int) -> None:
    theirs = adjust_hue(images, (degrees / 360 + 0.5) % 1 - 0.5)
    distance = (turn_hue(images, degrees).int() - theirs.int()).abs()
    assert int(distance.max()) <= 1 and float((distance > 0).double().mean()) < 1e-3


def test_turning_the_hue_round_is_nothing_and_turns_add_up(images: Tensor) -> None:
    before = images.clone()
    assert torch.equal(turn_hue(images, 0), images) and torch.equal(turn_hue(images, 360), images)
    for degrees in range(60, 360, 60):
        turned = turn_hue(images, degrees)
        assert not torch.equal(turned, images)
        assert torch.equal(turn_hue(turned, 360 - degrees), images)
        assert torch.equal(turn_hue(turn_hue(images, 60), degrees - 60), turned)
        assert torch.equal(turned[2], images[2])  # grey has no hue
    assert torch.equal(images, before)
    with pytest.raises(ValueError, match="multiple of 60 degrees, not 45"):
        turn_hue(images, 45)


@pytest.mark.parametrize("bins", [2, 4, 8])
def test_histograms_are_numpys(images: Tensor, bins: int) -> None:
    found = histogram(images, bins)
    assert found.shape == (4, bins**3) and found.dtype == torch.float64
    edges = [np.arange(bins + 1) * 256 // bins] * 3
    for ours, image in zip(found.numpy(), images, strict=True):
        pixels = image.flatten(1).T.numpy().astype(np.float64)
        theirs, _ = np.histogramdd(pixels, edges)
        np.testing.assert_allclose(ours, theirs.ravel() / len(pixels), rtol=0, atol=1e-15)
    assert torch.equal(histogram(images[2:], bins), found[2:])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_a_gpu_gives_the_cpus_pixels(images: Tensor) -> None:
    assert torch.equal(grey(images.cuda()).cpu(), grey(images))
    assert torch.equal(turn_hue(images.cuda(), 300).cpu(), turn_hue(images, 300))
    assert torch.equal(histogram(images.cuda(), 4).cpu(), histogram(images, 4))
