"""Masks and boxes on photos."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmark.data.annotations import IGNORE
from benchmark.show.colours import ink_on

_TINT = 0.6  # of a class's colour in its pixels, over the photo in grey
_DIM = 0.35  # light that is left where the class is unknown
_VEIL = 0.4  # of an object's colour within its mask
UNTINTED = frozenset({"background", "unlabeled"})
"""Classes that stay as the photo shows them."""


@dataclass(frozen=True)
class Found:
    """Objects to draw, K of them.

    Attributes:
        boxes: (K, 4) x0, y0, x1, y1 in pixels of the image as it is stored.
        labels: (K,) class indices.
        captions: (K,) what stands at each box.
        masks: (K, H, W) bool, or None.
        faint: (K,) bool: drawn thinner: regions that are neither asked for nor a mistake.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    captions: tuple[str, ...]
    masks: NDArray[np.bool_] | None
    faint: NDArray[np.bool_]


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)


def painted(
    photo: NDArray[np.uint8], labels: NDArray[np.integer], colours: NDArray[np.uint8], names: tuple[str, ...]
) -> NDArray[np.uint8]:
    """(H, W, 3): classes as colours over a grey photo, with outlines; dark where the class is unknown.

    Args:
        photo: (H, W, 3).
        labels: (H, W) classes or `IGNORE`.
        colours: (C, 3).
        names: of the classes; those of `UNTINTED` get no colour.
    """
    grey = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)
    unknown = labels == IGNORE
    known = np.where(unknown, 0, labels)
    plain = np.array([name.lower() in UNTINTED for name in names])[known] | unknown
    out = np.where(plain[..., None], grey, grey * (1 - _TINT) + colours[known] * _TINT)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    out[edge] = np.where(plain[edge][:, None], 255, colours[known][edge])
    out[unknown] *= _DIM
    return np.rint(out).astype(np.uint8)


def boxed(photo: NDArray[np.uint8], found: Found, colours: NDArray[np.uint8], zoom: float) -> Image.Image:
    """A photo with boxes, captions and translucent masks.

    Args:
        photo: (H, W, 3) as it is stored.
        found: what to draw; the last is drawn on top.
        colours: (C, 3).
        zoom: of the drawing.
    """
    canvas = photo.astype(np.float32)
    if found.masks is not None:
        for mask, label in zip(found.masks, found.labels, strict=True):
            canvas[mask] = canvas[mask] * (1 - _VEIL) + colours[label] * _VEIL
    size = (max(1, round(photo.shape[1] * zoom)), max(1, round(photo.shape[0] * zoom)))
    image = Image.fromarray(np.rint(canvas).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    for box, label, caption, faint in zip(found.boxes * zoom, found.labels, found.captions, found.faint, strict=True):
        colour = tuple(colours[label].tolist())
        x0, y0, x1, y1 = (float(edge) for edge in box)
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=1 if faint else 2)
        if not faint:
            _caption(pen, (x0, y0), caption, colours[label], image.size)
    return image


def _caption(
    pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: NDArray[np.uint8], size: tuple[int, int]
) -> None:
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font(11))
    width, height = right - left + 4, bottom - top + 4
    x = min(max(0, corner[0]), max(0, size[0] - width))
    y = min(max(0, corner[1] - height), max(0, size[1] - height))
    pen.rectangle((x, y, x + width, y + height), fill=tuple(colour.tolist()))
    pen.text((x + 2 - left, y + 2 - top), text, fill=ink_on(colour), font=font(11))
