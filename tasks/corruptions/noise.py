"""Noise: an operator takes uint8 images and the noise itself, so that a test can hand it somebody else's noise.

Each works in the precision of its noise (the streams draw float32; in float64 the arithmetic is the reference's, step
by step) and cuts grey levels off as `numpy.uint8` does, without rounding.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tasks.corruptions.levels import levels, unit


def gaussian_noise(images: Tensor, normals: Tensor, scale: float) -> Tensor:
    """Adds noise of standard deviation `scale` (white is 1); `normals` are standard normal, of the images' shape."""
    return levels(unit(images, normals.dtype).add_(normals * scale))


def speckle_noise(images: Tensor, normals: Tensor, scale: float) -> Tensor:
    """Adds noise proportional to the pixel; arguments as for `gaussian_noise`."""
    x = unit(images, normals.dtype)
    return levels(x.add_((normals * scale).mul_(x)))


def shot_noise(images: Tensor, counts: Tensor, photons: float) -> Tensor:
    """Shows the photons that were counted where white lets through `photons` on average; `counts` are integers."""
    known = _count_levels(photons, images.device)
    return known.index_select(0, counts.reshape(-1).clamp(max=len(known) - 1)).view(images.shape)


def impulse_noise(images: Tensor, bits: Tensor, amount: float) -> Tensor:
    """Salt and pepper on a share `amount` of all values.

    255 / 255 and 0 / 255 are exact and so is every other x / 255 * 255 after the cut, so no arithmetic is left to do.

    Args:
        images: uint8 (B, 3, H, W).
        bits: 32 for each value, int32: it is replaced if the lower 31 are below `amount` * 2^31, by white if the
            number is negative, else by black.
        amount: from 0 to 1.
    """
    hit = ((bits & 0x7FFFFFFF) < round(amount * 2**31)).to(torch.uint8)
    white = (bits >> 31).to(torch.uint8)  # 255 if negative
    return images + (white - images).mul_(hit)


@cache
def _count_levels(photons: float, device: torch.device) -> Tensor:
    """The grey level of each number of photons, the last one that of all greater numbers."""
    counts = torch.arange(int(photons) + 2, dtype=torch.float64)
    return levels(counts / photons).to(device)
