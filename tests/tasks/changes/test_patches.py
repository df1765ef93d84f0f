"""Patches are dropped and shuffled as the paper's code does it, image by image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tasks.changes.patches import drop_patches, shuffle_patches
from tasks.corruptions import digests

SIZES = ((224, 224), (97, 61), (14, 30))


def pictures(height: int, width: int, count: int = 4) -> Tensor:
    """Noise without black pixels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def keys(count: int, first: int = 0) -> Tensor:
    return digests([f"image {index}" for index in range(first, first + count)])


def bounds(side: int, grid: int) -> list[tuple[int, int]]:
    return [(row * side // grid, (row + 1) * side // grid) for row in range(grid)]


def dropped(images: Tensor, grid: int) -> np.ndarray:
    """(B, grid, grid) bool: which patches are black, and nothing between."""
    found = np.zeros((len(images), grid, grid), bool)
    for row, (top, bottom) in enumerate(bounds(images.shape[2], grid)):
        for column, (left, right) in enumerate(bounds(images.shape[3], grid)):
            black = (images[:, :, top:bottom, left:right] == 0).numpy()
            assert (black.all((1, 2, 3)) | ~black.any((1, 2, 3))).all()
            found[:, row, column] = black.all((1, 2, 3))
    return found


@pytest.mark.parametrize("size", SIZES)
def test_as_many_patches_are_dropped_as_in_the_papers_code_and_nothing_else_is_touched(size: tuple[int, int]) -> None:
    images = pictures(*size)
    before = images.clone()
    for tenths in range(11):
        found = drop_patches(images, 10 * tenths, keys(4), seed=0)
        black = dropped(found, 14)
        assert (black.sum((1, 2)) == tenths * 196 // 10).all()  # evaluate.py: drop_count * 196 // 10
        kept = (found != 0).all(1, keepdim=True)
        assert torch.equal(found, images * kept)
    assert torch.equal(drop_patches(images, 0, keys(4), seed=0), images) and torch.equal(images, before)


def test_what_is_dropped_at_one_share_is_dropped_at_every_larger_one() -> None:
    images = pictures(224, 224)
    shares = [dropped(drop_patches(images, percent, keys(4), seed=3), 14) for percent in range(0, 101, 10)]
    for less, more in pairwise(shares):
        assert (more | ~less).all() and more.sum() > less.sum()


def test_patches_are_dropped_equally_often_wherever_they_are_and_on_their_own() -> None:
    images = torch.ones(4000, 3, 4, 4, dtype=torch.uint8)
    black = dropped(drop_patches(images, 50, keys(4000), seed=0, grid=4), 4).reshape(-1, 16)
    assert stats.chisquare(black.sum(0), ddof=0).pvalue > 1e-3
    together = (black[:, 0] & black[:, 1]).mean()
    assert abs(together - 7 / 30) < 0.03  # 8 of 16 without replacement: 8/16 * 7/15


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [2, 4, 8, 14])
def test_shuffled_patches_are_those_of_the_image(size: tuple[int, int], grid: int) -> None:
    """The order is read off an image that is numbered by patch; with it NumPy puts another one together in loops."""
    height, width = size
    numbers = torch.zeros(3, 3, height, width, dtype=torch.uint8)
    rows, columns = bounds(height, grid), bounds(width, grid)
    for row, (top, bottom) in enumerate(rows):
        for column, (left, right) in enumerate(columns):
            numbers[:, :, top:bottom, left:right] = row * grid + column
    images, names = pictures(height, width, 3), keys(3)
    order, found = shuffle_patches(numbers, grid, names, 1).numpy(), shuffle_patches(images, grid, names, 1).numpy()
    orders = order[:, 0][:, [top for top, _ in rows]][:, :, [left for left, _ in columns]].reshape(3, -1)
    assert (np.sort(orders) == np.arange(grid**2)).all() and len({tuple(one) for one in orders}) == 3
    for index in range(3):
        wanted = np.zeros_like(found[index])
        for place, source in enumerate(orders[index]):
            (top, bottom), (left, right) = rows[place // grid], columns[place % grid]
            (y0, y1), (x0, x1) = rows[source // grid], columns[source % grid]
            patch = images[index, :, y0:y1, x0:x1].numpy()
            more = ((0, 0), (0, max(0, bottom - top - (y1 - y0))), (0, max(0, right - left - (x1 - x0))))
            wanted[:, top:bottom, left:right] = np.pad(patch, more, mode="edge")[:, : bottom - top, : right - left]
        np.testing.assert_array_equal(found[index], wanted)


def test_every_order_is_as_likely_and_one_patch_is_the_image() -> None:
    numbers = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2).expand(6000, 3, 2, 2)
    found = shuffle_patches(numbers, 2, keys(6000), seed=0)[:, 0].flatten(1).numpy()
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3
    images = pictures(33, 50)
    assert torch.equal(shuffle_patches(images, 1, keys(4), seed=0), images)


def test_an_image_is_changed_alike_in_every_batch_and_differently_under_another_key_or_seed() -> None:
    images, names = pictures(30, 44, 5), keys(5)

    def drop(x: Tensor, ids: Tensor, seed: int = 0) -> Tensor:
        return drop_patches(x, 40, ids, seed)

    def shuffle(x: Tensor, ids: Tensor, seed: int = 0) -> Tensor:
        return shuffle_patches(x, 4, ids, seed)

    for change in (drop, shuffle):
        whole = change(images, names)
        assert torch.equal(change(images.flip(0), names.flip(0)).flip(0), whole)
        assert torch.equal(change(images[3:4], names[3:4]), whole[3:4])
        assert not torch.equal(change(images, keys(5, first=5)), whole)
        assert not torch.equal(change(images, names, seed=1), whole)
        assert change(images[:0], names[:0]).shape == (0, 3, 30, 44)


def test_patches_can_have_another_colour() -> None:
    found = drop_patches(pictures(28, 28), 100, keys(4), 0, colour=(1, 2, 250))
    assert torch.equal(found, torch.tensor([1, 2, 250], dtype=torch.uint8).view(1, 3, 1, 1).expand(4, 3, 28, 28))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_a_gpu_gives_the_cpus_pixels() -> None:
    images, names = pictures(97, 61), keys(4)
    assert torch.equal(drop_patches(images.cuda(), 40, names, 0).cpu(), drop_patches(images, 40, names, 0))
    assert torch.equal(shuffle_patches(images.cuda(), 8, names, 0).cpu(), shuffle_patches(images, 8, names, 0))
