"""Photometric distortion of 8-bit images: brightness, contrast, saturation, hue (Liu et al. 2016, SSD, section 2.2).

The variant of mmsegmentation's `PhotoMetricDistortion`: each part happens half of the time, contrast before or after
saturation and hue, and every step ends in whole numbers of 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_BRIGHTNESS = 32.0
_STRETCH = (0.5, 1.5)  # of contrast, and of saturation
_CIRCLE = 180  # steps of hue in 8 bits: 2 degrees each
_POINT = 12  # bits behind the point of OpenCV's 8-bit divisions
_STEPS = np.arange(256)


@dataclass(frozen=True)
class Distortion:
    """What was drawn; None leaves a part out.

    Attributes:
        brightness: added.
        contrast: factor of all values.
        contrast_first: before saturation and hue, or after them.
        saturation: factor.
        hue: steps of 2 degrees.
    """

    brightness: float | None = None
    contrast: float | None = None
    contrast_first: bool = False
    saturation: float | None = None
    hue: int | None = None


def drawn_distortion(draws: np.random.Generator, hue: int = 18) -> Distortion:
    """Draws one; `hue` is the most that hue is turned, exclusive at the upper end."""

    def often() -> bool:
        return bool(draws.integers(2))

    brightness = float(draws.uniform(-_BRIGHTNESS, _BRIGHTNESS)) if often() else None
    first = often()
    contrast = float(draws.uniform(*_STRETCH)) if often() else None
    saturation = float(draws.uniform(*_STRETCH)) if often() else None
    turned = int(draws.integers(-hue, hue)) if hue and often() else None
    return Distortion(brightness, contrast, first, saturation, turned)


def distorted(image: Pixels, how: Distortion) -> Pixels:
    """(H, W, 3) RGB, distorted."""
    if how.brightness is not None:
        image = _table(_STEPS + how.brightness)[image]
    if how.contrast is not None and how.contrast_first:
        image = _table(_STEPS * how.contrast)[image]
    if how.saturation is not None:
        hue, saturation, value = hsv(image)
        image = rgb(hue, _table(_STEPS * how.saturation)[saturation], value)
    if how.hue is not None:
        hue, saturation, value = hsv(image)
        image = rgb((hue + how.hue) % _CIRCLE, saturation, value)
    if how.contrast is not None and not how.contrast_first:
        image = _table(_STEPS * how.contrast)[image]
    return image


def _table(values: np.ndarray) -> Pixels:
    """What becomes of each value: cut off at the ends and behind the point."""
    return np.clip(values.astype(np.float32), 0, 255).astype(np.uint8)


def _reciprocals(over: float) -> NDArray[np.int32]:
    """`over` / n with `_POINT` bits behind the point, 0 for n = 0."""
    table = np.zeros(256, np.int32)
    table[1:] = np.rint(over * 2**_POINT / _STEPS[1:])
    return table


_OF_VALUE, _OF_SPAN = _reciprocals(255), _reciprocals(_CIRCLE / 6)


_SIXTHS = (np.array([[5], [3], [1]]) + np.arange(_CIRCLE) / (_CIRCLE / 6)) % 6
_LOST: NDArray[np.float32] = np.clip(np.minimum(_SIXTHS, 4 - _SIXTHS), 0, 1).astype(np.float32)
"""(3, 180) the share of its chroma that red, green and blue lack at each hue."""


def hsv(image: Pixels) -> tuple[NDArray[np.int32], Pixels, Pixels]:
    """Hue in steps of 2 degrees, saturation and value of 0 to 255, as 8-bit images have them."""
    red, green, blue = (image[..., channel].astype(np.int32) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    span = value - np.minimum(np.minimum(red, green), blue)
    sixth = np.where(
        value == red, green - blue, np.where(value == green, blue - red + 2 * span, red - green + 4 * span)
    )
    half = 1 << (_POINT - 1)
    hue = (sixth * _OF_SPAN[span] + half) >> _POINT
    hue += _CIRCLE * (hue < 0)
    saturation = (span * _OF_VALUE[value] + half) >> _POINT
    return hue, saturation.astype(np.uint8), value.astype(np.uint8)


def rgb(hue: NDArray[np.int32], saturation: Pixels, value: Pixels) -> Pixels:
    """The way back of `hsv`, rounded."""
    bright = value.astype(np.float32)
    chroma = bright * saturation / np.float32(255)
    return np.stack([np.rint(bright - chroma * lost[hue]) for lost in _LOST], axis=-1).astype(np.uint8)
