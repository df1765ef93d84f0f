"""Low-passed and high-passed images against NumPy's full transform and masks made in loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.changes.frequency import bands, highest_frequency

SIZES = ((64, 64), (61, 97), (150, 64), (33, 32))
CUTOFFS = (1, 2, 5.5, 8, 16)


def pictures(height: int, width: int) -> Tensor:
    """Structure at several scales, black and white included."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 3, 5, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return ((smooth + 0.2 * torch.randn(smooth.shape, generator=generator)) * 255).clamp(0, 255).to(torch.uint8)


def by_hand(plane: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """A centred spectrum, cut by a disk, and what the disk leaves out with the mean put back."""
    height, width = plane.shape
    spectrum = np.fft.fftshift(np.fft.fft2(plane.astype(np.float64)))
    kept = np.zeros(plane.shape, bool)
    for row in range(height):
        for column in range(width):
            down, across = (row - height // 2) / height, (column - width // 2) / width
            kept[row, column] = min(height, width) * np.hypot(down, across) < cutoff
    low, high = (np.real(np.fft.ifft2(np.fft.ifftshift(spectrum * mask))) for mask in (kept, ~kept))
    return tuple(np.clip(np.round(x), 0, 255) for x in (low, high + plane.mean()))  # type: ignore[return-value]


@pytest.mark.parametrize("size", SIZES)
def test_both_bands_are_those_of_numpys_transform(size: tuple[int, int]) -> None:
    images = pictures(*size)
    for cutoff, found in zip(CUTOFFS, bands(images, CUTOFFS), strict=True):
        for image in range(3):
            for channel in range(3):
                wanted = by_hand(images[image, channel].numpy(), cutoff)
                for ours, theirs in zip(found, wanted, strict=True):
                    np.testing.assert_array_equal(ours[image, channel].numpy(), theirs)


@pytest.mark.parametrize("size", SIZES)
def test_the_whole_band_is_the_image_and_nothing_of_it_is_its_mean(size: tuple[int, int]) -> None:
    images = pictures(*size)
    ((all_of_it, nothing),) = bands(images, [highest_frequency(*size) + 1e-6])
    assert torch.equal(all_of_it, images)
    mean = images.double().mean((2, 3), keepdim=True).round().to(torch.uint8)
    assert torch.equal(nothing, mean.expand_as(images))
    ((flat, rest),) = bands(images, [1e-6])
    assert torch.equal(flat, mean.expand_as(images)) and torch.equal(rest, images)
    ((almost, _),) = bands(images, [highest_frequency(*size)])
    assert not torch.equal(almost, images)  # what is below the highest frequency lacks it


def test_a_wave_belongs_to_the_high_frequencies_from_its_own_on() -> None:
    wave = 128 + 100 * torch.sin(2 * torch.pi * 5 * torch.arange(64) / 64)  # five cycles across
    image = wave.round().to(torch.uint8).expand(1, 3, 64, 64).contiguous()
    (at, above) = bands(image, [5, 5.01])
    assert float(at[0].double().std()) < 1 and float((at[1].int() - image.int()).abs().max()) <= 1
    assert float((above[0].int() - image.int()).abs().max()) <= 1 and float(above[1].double().std()) < 1


def test_neither_the_batch_nor_the_other_cutoffs_change_an_image() -> None:
    images = pictures(61, 97)
    whole = list(bands(images, CUTOFFS))
    for place, cutoff in enumerate(CUTOFFS):
        for image in range(3):
            (alone,) = bands(images[image : image + 1], [cutoff])
            for one, other in zip(alone, whole[place], strict=True):
                assert torch.equal(one[0], other[image])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_a_gpu_gives_the_cpus_pixels() -> None:
    images = pictures(64, 64)
    for here, there in zip(bands(images, CUTOFFS), bands(images.cuda(), CUTOFFS), strict=True):
        for one, other in zip(here, there, strict=True):
            assert torch.equal(one, other.cpu())
