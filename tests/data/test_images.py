from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data import images
from benchmark.data.images import decode, read_image
from benchmark.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_rgb_comes_back_pixel_for_pixel() -> None:
    got = decode(_encode(Image.fromarray(PIXELS), "PNG"), "x")
    assert got.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(got), PIXELS)


@pytest.mark.parametrize("kind", ["I;16 png", "I;16 tiff", "I;16B tiff"])
def test_sixteen_bit_grey_is_scaled_not_cut(kind: str) -> None:
    values = np.array([[0, 128, 257, 32768, 65407, 65535]], np.uint16)
    mode, form = kind.split()
    raw = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    got = np.asarray(decode(_encode(Image.frombytes(mode, (6, 1), raw), form), "x"))
    np.testing.assert_array_equal(got[0, :, 0], np.round(values[0] / 257).astype(np.uint8))
    assert (got == got[..., :1]).all()


def test_a_palette_gives_its_colours_and_transparency_is_dropped_without_a_word() -> None:
    palette = Image.new("P", (4, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
    palette.putdata([0, 1, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = np.asarray(decode(_encode(palette, "PNG", transparency=bytes([0, 128])), "x"))
    np.testing.assert_array_equal(got[0], [[10, 20, 30], [200, 100, 50], [200, 100, 50], [10, 20, 30]])


def test_alpha_is_dropped_not_blended() -> None:
    rgba = np.dstack([PIXELS, np.zeros((9, 7), np.uint8)])
    np.testing.assert_array_equal(np.asarray(decode(_encode(Image.fromarray(rgba), "PNG"), "x")), PIXELS)
    la = np.dstack([PIXELS[..., 0], np.full((9, 7), 7, np.uint8)])
    got = np.asarray(decode(_encode(Image.fromarray(la), "PNG"), "x"))
    np.testing.assert_array_equal(got, np.repeat(PIXELS[..., :1], 3, 2))


def test_cmyk_becomes_rgb_by_the_plain_formula() -> None:
    flat = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    got = np.asarray(decode(_encode(flat, "JPEG", quality=100), "x")).astype(int)
    assert np.abs(got - [255, 0, 0]).max() <= 3


def test_the_first_frame_of_an_animation_counts() -> None:
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    data = _encode(red, "GIF", save_all=True, append_images=[blue])
    assert decode(data, "x").getpixel((0, 0)) == (255, 0, 0)


def test_exif_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(_encode(Image.fromarray(PIXELS), "JPEG", exif=exif), "x").size == (7, 9)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "photo.jpg is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "photo.jpg is a web page"),
        (b"  <html><body>", "photo.jpg is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x00\x01\x02\x03" * 20, "no image format"),
        (_encode(Image.fromarray(PIXELS.repeat(20, 0).repeat(20, 1)), "JPEG")[:2000], "cannot be decoded"),
        (_encode(Image.fromarray(PIXELS), "PNG")[:-60], "cannot be decoded"),
        (_encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floating-point"),
        (_encode(Image.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"), "32-bit"),
    ],
)
def test_what_is_no_image_is_named_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(DataError) as refusal:
        decode(data, "photo.jpg")
    assert "photo.jpg" in str(refusal.value)
    assert says in str(refusal.value)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _encode(Image.new("RGB", (40, 40)), "PNG")
    monkeypatch.setattr(images, "MAX_PIXELS", 1599)
    with pytest.raises(DataError, match="40 x 40 pixels are more than 1599"):
        decode(data, "x")
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with pytest.raises(DataError, match="decompression bomb"):
        decode(data, "x")


def test_a_missing_file_is_named(tmp_path: Any) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg: No such file"):
        read_image(tmp_path / "gone.jpg")
