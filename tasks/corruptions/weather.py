"""Weather: snow, frost and fog, each laid over images from a random field that is handed in."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from tasks.corruptions import filters
from tasks.corruptions.blur import enlarged, motion_path, motion_weights
from tasks.corruptions.levels import levels, unit


def snow_field(height: int, width: int, zoom: float) -> tuple[int, int]:
    """Rows and columns of noise that `snow` enlarges to cover an image."""
    return math.ceil(height / zoom), math.ceil(width / zoom)


def snow(
    images: Tensor,
    normals: Tensor,
    angles: np.ndarray,
    mean: float,
    scale: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    keep: float,
) -> Tensor:
    """Whitens images and adds flakes, twice: as they are and turned by half a circle.

    Args:
        images: uint8 (B, 3, H, W).
        normals: standard normal, floating (B, h, w) with (h, w) = `snow_field`; flakes are where it is high.
        angles: in which each image's flakes fall, degrees, float64 (B,).
        mean: of the noise that flakes are made of.
        scale: its standard deviation.
        zoom: how much the noise is enlarged.
        threshold: below which there is no flake.
        radius: of the motion blur that makes the flakes fall, see `motion_blur`.
        sigma: likewise.
        keep: share of the image that is not whitened.
    """
    height, width = images.shape[2:]
    dtype = normals.dtype
    flakes = enlarged((normals.double() * scale).add_(mean)[None], zoom).transpose(0, 1)
    flakes = flakes.mul_((flakes >= threshold).double()).clamp_(0, 1).to(dtype)
    weights = motion_weights(radius, sigma)
    rows, columns, kept = motion_path(angles, len(weights), *flakes.shape[2:])
    weights = torch.from_numpy(weights * kept).to(dtype).numpy()
    flakes = filters.shifted_sum(flakes, rows, columns, weights)
    flakes = unit((flakes[..., :height, :width] * 255).round_().to(torch.uint8), dtype)
    x = unit(images, torch.float32)
    white = _grey(x).mul_(1.5).add_(0.5)
    x = (x * keep).add_(torch.maximum(x, white).mul_(1 - keep))
    return levels(x.to(dtype).add_(flakes).add_(flakes.flip(2, 3)))


def _grey(x: Tensor) -> Tensor:
    """OpenCV's grey of float32 RGB images (B, 3, H, W), as its fused multiply-adds round it: (B, 1, H, W)."""
    red, green, blue = x.split(1, 1)
    grey = green * _single(0.587)
    grey = (red.double() * _single(0.299)).add_(grey).float()
    return (blue.double() * _single(0.114)).add_(grey).float()


def _single(value: float) -> float:
    """A number in single precision."""
    return float(np.float32(value))


def frost(images: Tensor, ice: Tensor, keep: float, add: float) -> Tensor:
    """Mixes images with pictures of frost: uint8 both, (B, 3, H, W)."""
    pair = images.int().mul_(256).add_(ice).view(-1)
    return _mixtures(keep, add, images.device).index_select(0, pair).view(images.shape)


@cache
def _mixtures(keep: float, add: float, device: torch.device) -> Tensor:
    """The mixture of every two levels: uint8 (65536,), the image's level first."""
    x = np.arange(256)
    return torch.from_numpy(np.clip(keep * x[:, None] + add * x, 0, 255).astype(np.uint8).reshape(-1)).to(device)


def fog_field(height: int, width: int) -> int:
    """The side of the square plasma that covers an image: a power of two."""
    return 1 << (max(height, width) - 1).bit_length()


def fog(images: Tensor, uniforms: Tensor, strength: float, decay: float) -> Tensor:
    """Adds plasma clouds and rescales to the images' brightest level.

    Args:
        images: uint8 (B, 3, H, W).
        uniforms: in [0, 1), floating (B, side * side) with side = `fog_field`, in the order that `plasma` uses.
        strength: of the fog, the images' white being 1.
        decay: by which the clouds' detail gets weaker from one scale to the next finer one.
    """
    height, width = images.shape[2:]
    clouds = plasma(uniforms, decay)[:, None, :height, :width].mul_(strength)
    x = unit(images, uniforms.dtype)
    brightest = x.amax((1, 2, 3), keepdim=True)
    return levels(x.add_(clouds).mul_(brightest).div_(brightest + strength))


def plasma(uniforms: Tensor, decay: float) -> Tensor:
    """Clouds by the diamond-square algorithm on a torus, from 0 to 1.

    Args:
        uniforms: in [0, 1), floating (B, side * side): for each scale from the coarsest, the displacements of the
            squares' middles, of the horizontal edges and of the vertical edges. The first point of all has none.
        decay: by which the displacements get weaker from scale to scale.

    Returns:
        float32 (B, side, side).
    """
    batch, side = len(uniforms), math.isqrt(uniforms.shape[1])
    clouds = torch.zeros(batch, side, side, device=uniforms.device)
    used, step, weight = 0, side, 100.0

    def displaced(total: Tensor) -> Tensor:
        """The mean of four points with the next random numbers added."""
        nonlocal used
        part = uniforms[:, used : used + total[0].numel()].view(total.shape)
        used += total[0].numel()
        return (part * (2 * weight)).sub_(weight).mul_(weight).add_(total.div_(4)).float()

    while step >= 2:
        half = step // 2
        corners, middles = clouds[:, ::step, ::step], clouds[:, half::step, half::step]
        total = corners + corners.roll(-1, 1)
        total += total.roll(-1, 2)
        middles.copy_(displaced(total))
        total = middles + middles.roll(1, 1) + (corners + corners.roll(-1, 2))
        clouds[:, ::step, half::step] = displaced(total)
        total = middles + middles.roll(1, 2) + (corners + corners.roll(-1, 1))
        clouds[:, half::step, ::step] = displaced(total)
        step, weight = half, weight / decay
    clouds -= clouds.amin((1, 2), keepdim=True)
    return clouds.div_(clouds.amax((1, 2), keepdim=True))
