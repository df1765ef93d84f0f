"""Colours taken away, turned round the wheel, and counted: integer arithmetic, the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor


def grey(images: Tensor) -> Tensor:
    """Luma of ITU-R 601 in all three channels, to the last bit that of Pillow's mode L.

    Args:
        images: uint8 (B, 3, H, W), RGB.
    """
    red, green, blue = images.int().unbind(1)
    # 0.299, 0.587 and 0.114 in sixteen binary places, rounded to the nearest level (Pillow, Convert.c)
    luma = (red * 19595 + green * 38470 + blue * 7471 + (1 << 15)) >> 16
    return luma.to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()


def turn_hue(images: Tensor, degrees: int) -> Tensor:
    """Adds to the hue of HSV and leaves saturation and value as they are; exact where `degrees` is a multiple of 60.

    Such a turn needs no conversion: by 120 degrees it moves each channel to the next, and by 180 degrees it turns a
    level x into highest + lowest - x of the pixel's three.

    Args:
        images: uint8 (B, 3, H, W), RGB.
        degrees: a multiple of 60.

    Raises:
        ValueError: it is none.
    """
    steps, rest = divmod(degrees, 60)
    if rest:
        raise ValueError(f"a multiple of 60 degrees, not {degrees}")
    if steps % 2:  # half a turn, and thirds of one for the rest
        images = images.amax(dim=1, keepdim=True) + images.amin(dim=1, keepdim=True) - images
        steps -= 3
    return images.roll(steps // 2 % 3, dims=1)


def histogram(images: Tensor, bins: int) -> Tensor:
    """The share of pixels in each cell of the RGB cube cut into equal parts: float64 (B, bins^3), rows sum to 1.

    Args:
        images: uint8 (B, 3, H, W), RGB.
        bins: parts of each channel, a power of two.
    """
    red, green, blue = (images.int() * bins // 256).unbind(1)
    cell = ((red * bins + green) * bins + blue).flatten(1)
    size = bins**3
    cell += torch.arange(len(images), dtype=torch.int32, device=images.device)[:, None] * size
    counts = torch.bincount(cell.flatten(), minlength=len(images) * size)
    return counts.view(-1, size).double() / (images.shape[2] * images.shape[3])
