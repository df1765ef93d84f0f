"""Decoding: whatever a photograph is stored as, to 8-bit RGB, or an error that names it.

What the field's evaluation code does (`Image.open(...).convert("RGB")`) is done here, so that figures agree:
transparency is dropped, not blended; the first frame of an animation counts; EXIF orientation is ignored; CMYK is
converted by formula.
Where that recipe would silently give wrong pixels, this one differs: 16-bit grey is scaled, not cut at 255.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from benchmark.errors import DataError

MAX_PIXELS = 178_956_970  # 0.5 GiB of RGB; Pillow itself refuses beyond this
_HTML = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")


def _why(head: bytes, error: BaseException) -> str:
    """The reason in words that help: what the file is, if it is no image at all."""
    if not head:
        return "is empty (0 bytes)"
    if head.lstrip()[:9].lower().startswith(_HTML):
        return "is a web page, not an image"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the image itself"
    if isinstance(error, UnidentifiedImageError):
        return "is in no image format that Pillow knows"
    return f"cannot be decoded: {str(error) or type(error).__name__}"


def _sixteen_bit_to_rgb(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit values; their white is unknown")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode == "F":
        raise ValueError("floating-point pixels; their white is unknown")
    if image.mode == "I" or image.mode.startswith("I;"):
        return _sixteen_bit_to_rgb(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the direct way warns and ignores the palette's transparency
    return image.convert("RGB")


def decode(data: bytes, name: str) -> Image.Image:
    """An encoded image as 8-bit RGB.

    Args:
        data: the file's content.
        name: for messages.

    Raises:
        DataError: it is empty, truncated, no image, too large, or of a depth whose range is unknown.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
            return _to_rgb(image)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise DataError(
            "an image", f"{name} {_why(data[:64], error)}", "replace it, remove it, or run with --on-bad-image skip"
        ) from None


def read_image(path: str | Path, name: str | None = None) -> Image.Image:
    """An image file as 8-bit RGB.

    Raises:
        DataError: the file cannot be read or decoded.
    """
    shown = str(path) if name is None else name
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            "a readable image", f"{shown}: {error.strerror}", "restore it or check its permissions"
        ) from None
    return decode(data, shown)
