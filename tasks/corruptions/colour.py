"""Hue, saturation and value changed together: scikit-image's arithmetic, most of it from tables.

Of a pixel's three levels the highest becomes the new value, and the lowest depends on itself and the highest alone:
both are looked up. Only the middle one needs the hue. It lies between the other two in the same proportion as before,
up to the last bits of the arithmetic; where those decide (next to a whole level) the pixel is done step by step.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tasks.corruptions.levels import levels, unit

_WHOLE = 1e-9  # levels
Linear = tuple[float, float]


def recoloured(images: Tensor, value: Linear, saturation: Linear) -> Tensor:
    """Images whose HSV value and saturation became factor * x + more, clipped to 0..1.

    Args:
        images: uint8 (B, 3, H, W), RGB.
        value: factor and addend of the value.
        saturation: factor and addend of the saturation.
    """
    red, green, blue = images.unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    middle = red ^ green ^ blue ^ high ^ low
    pair = high.int().mul_(256).add_(low).view(-1)
    highest, lowest, base, slope = _tables(value, saturation, images.device)
    between = (middle - low).view(-1).double().mul_(slope.index_select(0, pair)).add_(base.index_select(0, pair))
    new_high = highest.index_select(0, high.view(-1).int()).view(high.shape)
    new_low = lowest.index_select(0, pair).view(high.shape)
    new_middle = between.to(torch.uint8).view(high.shape)
    coloured = (high > low).to(torch.uint8)
    result = torch.empty_like(images)
    for channel, level in enumerate((red, green, blue)):
        is_high, is_low = (level == high).to(torch.uint8), (level == low).to(torch.uint8)
        if channel > 0:  # the hue of grey is that of red: green and blue are its lower levels
            is_high *= coloured
        is_low -= is_high & is_low
        result[:, channel] = new_high * is_high + new_low * is_low + new_middle * (1 - is_high - is_low)
    whole = (between.sub_(between.round()).abs_() < _WHOLE).logical_and_(coloured.view(-1) == 1)
    image, pixel = whole.view(len(images), -1).nonzero().unbind(1)
    result.flatten(2)[image, :, pixel] = _step_by_step(images.flatten(2)[image, :, pixel], value, saturation)
    return result


@cache
def _tables(value: Linear, saturation: Linear, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the highest and the lowest level become, and the line on which the middle one lies.

    Returns:
        uint8 (256,) by the highest level; then by 256 * highest + lowest: uint8, and float64 base and slope in levels.
    """
    x = unit(torch.arange(256, dtype=torch.uint8), torch.float64)
    new_value = _changed(x, value)
    share = (x[:, None] - x) / x[:, None]
    share[x[:, None] - x <= 0] = 0  # grey; pairs whose lowest is above the highest do not occur
    new_low = new_value[:, None] * (1 - _changed(share, saturation))
    distance = torch.arange(256, dtype=torch.float64)[:, None] - torch.arange(256)
    slope = (new_value[:, None] - new_low) * 255 / distance.clamp(min=1)
    base = new_low.reshape(-1) * 255
    found = levels(new_value.clone()), levels(new_low.clone()).view(-1), base, slope.reshape(-1)
    highest, lowest, base, slope = (table.to(device) for table in found)
    return highest, lowest, base, slope


def _changed(x: Tensor, linear: Linear) -> Tensor:
    return (x * linear[0] + linear[1]).clamp_(0, 1)


def _step_by_step(pixels: Tensor, value: Linear, saturation: Linear) -> Tensor:
    """The operations of `skimage.color.rgb2hsv` and `hsv2rgb` in their order, on uint8 (N, 3) with high above low."""
    rgb = unit(pixels, torch.float64)
    high, low = rgb.amax(1), rgb.amin(1)
    delta = high - low
    red, green, blue = rgb.unbind(1)
    six = torch.where(
        blue == high,
        4 + (red - green) / delta,
        torch.where(green == high, 2 + (blue - red) / delta, (green - blue) / delta),
    )
    hue = (six / torch.full((), 6.0, dtype=torch.float64, device=rgb.device)).remainder_(1)
    share, high = _changed(delta / high, saturation), _changed(high, value)
    sector = (hue * 6).floor()
    part = hue * 6 - sector
    p, q, t = high * (1 - share), high * (1 - part * share), high * (1 - (1 - part) * share)
    every = torch.stack([high, q, p, p, t, high, t, high, high, q, p, p, p, p, t, high, high, q], 1)
    which = sector.long().remainder_(6)[:, None] + 6 * torch.arange(3, device=rgb.device)
    return levels(every.gather(1, which))
