"""Colours of classes: any number of them, neighbours in number far apart in hue."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 137.50776405003785 / 360  # the golden angle: no two multiples of it come close
_TONES = ((0.52, 0.85), (0.7, 0.75), (0.36, 0.8), (0.6, 0.45), (0.44, 0.55), (0.8, 0.85), (0.28, 0.6))
"""Lightness and saturation, in turn: numbers whose hues do come close (21, 34, 55, 89, 144 apart) differ in tone."""


def class_colours(classes: int) -> NDArray[np.uint8]:
    """(C, 3) RGB."""
    tones = (_TONES[index % len(_TONES)] for index in range(classes))
    colours = [colorsys.hls_to_rgb(index * _GOLDEN % 1, *tone) for index, tone in enumerate(tones)]
    return np.rint(np.array(colours).reshape(-1, 3) * 255).astype(np.uint8)


def ink_on(colour: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Black or white, whichever is read more easily on a colour (Rec. 709 luma)."""
    light = float(np.dot(colour, (0.2126, 0.7152, 0.0722))) > 140
    return (0, 0, 0) if light else (255, 255, 255)
