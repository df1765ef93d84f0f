"""Grows the five pictures of frost in this folder: `python -m tasks.corruptions.frost.grow` writes them again.

The pictures that the paper's code ships are photographs by others. These are drawn: feathers of ice whose needles
branch at 60 degrees, as water ice does, lit from one side, over glass of uneven brightness. They are part of this
project and under its licence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from tasks.corruptions.frost import HEIGHT, WIDTH

_FINE = 2  # drawn this much larger, then averaged
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ice:
    """One picture.

    Attributes:
        feathers: how many feathers grow, the longest first.
        length: of the longest and the shortest, in pixels.
        spread: half the angle, in degrees, around the upright (or, at 180, anywhere) in which feathers grow.
        glass: RGB of the bare glass, 0..1.
        ice: RGB of the brightest ice.
        cover: brightness that clouds of thin ice add.
        relief: strength of the light from the side.
    """

    feathers: int
    length: tuple[float, float]
    spread: float
    glass: tuple[float, float, float]
    ice: tuple[float, float, float]
    cover: float
    relief: float


PICTURES = (
    Ice(420, (150, 25), 180, (0.16, 0.42, 0.50), (0.66, 0.86, 0.92), 0.45, 0.5),
    Ice(900, (120, 20), 180, (0.68, 0.69, 0.72), (1.00, 1.00, 1.00), 0.45, 0.6),
    Ice(2200, (70, 12), 180, (0.38, 0.42, 0.48), (0.93, 0.96, 1.00), 0.40, 0.7),
    Ice(500, (110, 18), 70, (0.22, 0.26, 0.33), (0.95, 0.98, 1.00), 0.30, 0.6),
    Ice(170, (260, 40), 50, (0.10, 0.16, 0.20), (0.72, 0.88, 0.95), 0.25, 0.6),
)


def picture(ice: Ice, seed: int) -> NDArray[np.uint8]:
    """A picture of frost: RGB (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(seed)
    height, width = HEIGHT * _FINE, WIDTH * _FINE
    sheet = np.zeros((height, width))
    lengths = np.geomspace(*ice.length, ice.feathers)
    for layer in np.array_split(lengths, 6):  # later layers grow over earlier ones
        drawn = Image.new("L", (width, height))
        pen = ImageDraw.Draw(drawn)
        for length in layer:
            at = rng.uniform(-0.05, 1.05) * width, rng.uniform(-0.05, 1.05) * height
            angle = -90 + rng.uniform(-ice.spread, ice.spread)
            _feather(pen, rng, at, math.radians(angle), length * _FINE, 3)
        new = np.asarray(drawn) / 255.0
        solid = gaussian_filter((new > 0).astype(np.float64), 2 * _FINE)
        sheet = np.maximum(new, sheet * (1 - 0.5 * solid))
    sheet = sheet.reshape(HEIGHT, _FINE, WIDTH, _FINE).mean((1, 3))
    clouds, grain = _clouds(rng, 5), _clouds(rng, 9)
    thick = sheet * (0.55 + 0.45 * clouds) + ice.cover * clouds * (0.5 + 0.5 * grain)
    smooth = gaussian_filter(thick, 1.0)
    slope = np.gradient(smooth, axis=1) + np.gradient(smooth, axis=0)
    light = np.clip(thick + ice.relief * 2.5 * slope, 0, 1)[..., None]
    glass = np.array(ice.glass) * (0.7 + 0.6 * _clouds(rng, 3)[..., None])
    return (np.clip(glass + (np.array(ice.ice) - glass) * light, 0, 1) * 255).astype(np.uint8)


def _feather(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, at: tuple[float, float], angle: float, length: float, order: int
) -> None:
    """A needle that bends a little, with shorter ones on both sides, `order` times over."""
    steps = max(2, int(length / (3.5 * _FINE)))
    bend = rng.normal(0, 0.25) / steps
    x, y = at
    for step in range(steps):
        angle += bend
        to = x + math.cos(angle) * length / steps, y + math.sin(angle) * length / steps
        left = 1 - step / steps
        bright = int(255 * np.clip(rng.normal(0.45 + 0.15 * order, 0.12), 0.15, 1))
        pen.line((x, y, *to), fill=bright, width=max(1, round(left * order * _FINE * 0.6)))
        x, y = to
        if order > 1 and step > 0:
            for side in (-1, 1):
                part = length * left * rng.uniform(0.12, 0.42)
                if part > 3 * _FINE:
                    _feather(pen, rng, (x, y), angle + side * math.radians(rng.normal(60, 7)), part, order - 1)


def _clouds(rng: np.random.Generator, octaves: int) -> Array:
    """Smooth noise on `octaves` scales from the coarsest, 0 to 1: (HEIGHT, WIDTH)."""
    total = np.zeros((HEIGHT, WIDTH))
    for octave in range(1, octaves + 1):
        cells = rng.normal(size=(2**octave + 1, 2**octave + 2))
        larger = Image.fromarray(cells.astype(np.float32)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        total += np.asarray(larger, dtype=np.float64) * 0.6**octave
    low, high = np.quantile(total, (0.01, 0.99))
    return np.clip((total - low) / (high - low), 0, 1)


def main() -> None:
    """Writes the pictures beside this file."""
    for number, ice in enumerate(PICTURES, start=1):
        Image.fromarray(picture(ice, number)).save(Path(__file__).with_name(f"{number}.jpg"), quality=85)


if __name__ == "__main__":
    main()
