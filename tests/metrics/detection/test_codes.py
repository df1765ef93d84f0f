"""COCO's compressed run lengths against pycocotools; codes that would mislead its C code are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco

from benchmark.data.runlength import run_lengths
from benchmark.errors import ResultError
from benchmark.metrics.detection import codes
from benchmark.metrics.detection.codes import areas_of, encode_masks, encode_runs

SIZE = (61, 83)


def masks(count: int = 40) -> np.ndarray:
    """Noise of all densities (short runs), blocks (long ones), nothing and everything."""
    rng = np.random.default_rng(0)
    noise = rng.random((count, *SIZE)) < rng.random((count, 1, 1))
    noise[::3, : SIZE[0] // 2] = False
    noise[1::3, :, 20:] = True
    noise[0], noise[1] = False, True
    return noise


def test_codes_are_those_of_pycocotools_whichever_way_they_are_made() -> None:
    for mask, code, again in zip(masks(), encode_masks(masks()), _from_runs(), strict=True):
        assert code == again == coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert encode_runs([], SIZE) == [] and encode_masks(np.zeros((0, *SIZE), bool)) == []


def _from_runs() -> list[str]:
    return encode_runs([run_lengths(mask) for mask in masks()], SIZE)


@pytest.mark.parametrize("block", [1, 500, 1 << 16])
def test_areas_are_those_that_pycocotools_counts(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_BLOCK", block)
    found = encode_masks(masks())
    expected = coco.area([{"size": list(SIZE), "counts": code.encode()} for code in found])
    pixels = np.full(len(found), SIZE[0] * SIZE[1])
    assert np.array_equal(areas_of(pa.array(found), pixels, "masks"), expected)
    assert np.array_equal(areas_of(pa.array(found)[7:20], pixels[7:20], "masks"), expected[7:20])
    assert len(areas_of(pa.array([], pa.string()), pixels[:0], "masks")) == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "an empty one"),
        ("0", "found 0"),
        ("PPP", "cut short"),
        ("a b", "other characters"),
        ("oooooooooooo0", "32 bits"),
        ("4O", "found 3|one of -1"),  # 4, then -1
        (encode_masks(np.ones((1, 5, 5), bool))[0], "found 25"),
    ],
)
def test_a_code_that_does_not_fill_its_image_is_refused(code: str, words: str) -> None:
    good = encode_masks(masks())[5]
    with pytest.raises(ResultError, match=words):
        areas_of(pa.array([good, code, good]), np.full(3, SIZE[0] * SIZE[1]), "masks")
