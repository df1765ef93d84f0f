"""Patches of a regular grid dropped or shuffled, as in Naseer et al. 2021 ("Intriguing properties of vision
transformers").

Their code (Muzammal-Naseer/IPViT, evaluate.py) sets dropped pixels to 0 before it normalises, so patches are black, and
drops floor(share x patches) of 14 x 14. It draws one choice for a whole batch; here each image has its own. It wants
sides that the grid divides; here row i of a grid of g goes from floor(i H / g) to floor((i + 1) H / g).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.corruptions.draws import Streams

BLACK = (0, 0, 0)


def drop_patches(
    images: Tensor, percent: int, keys: Tensor, seed: int, grid: int = 14, colour: Sequence[int] = BLACK
) -> Tensor:
    """Fills a share of the patches with one colour. What is dropped at one share is dropped at every larger one.

    Args:
        images: uint8 (B, 3, H, W), at least `grid` pixels a side.
        percent: of the patches, 0 to 100; floor(percent / 100 * grid^2) are dropped.
        keys: digests of the images' ids, int64 (B,), on any device.
        seed: of the choice.
        grid: patches a side.
        colour: red, green, blue of 0 to 255.

    Returns:
        uint8 (B, 3, H, W).
    """
    ranks = _order(keys, grid, f"drop patches {grid}", seed, images.device).argsort(dim=1)
    dropped = (ranks < percent * grid**2 // 100).view(-1, grid, grid)
    rows, columns = (_cells(side, grid, images.device) for side in images.shape[2:])
    mask = dropped.index_select(1, rows).index_select(2, columns)[:, None]
    filling = torch.tensor(colour, dtype=torch.uint8, device=images.device).view(1, 3, 1, 1)
    return torch.where(mask, filling, images)


def shuffle_patches(images: Tensor, grid: int, keys: Tensor, seed: int) -> Tensor:
    """Puts the patches of each image in a random order, each as likely (also the one that they are in).

    Where the grid does not divide a side, its patches differ by one row or column: one that comes to a larger place
    repeats its last, one that comes to a smaller place loses it.

    Args:
        images: uint8 (B, 3, H, W), at least `grid` pixels a side.
        grid: patches a side.
        keys: digests of the images' ids, int64 (B,), on any device.
        seed: of the orders; each grid has one of its own.
    """
    height, width = images.shape[2:]
    source = _order(keys, grid, f"shuffle patches {grid}", seed, images.device).view(-1, grid, grid)
    rows, columns = (_cells(side, grid, images.device) for side in (height, width))
    source = source.index_select(1, rows).index_select(2, columns)  # (B, H, W): the patch that each pixel comes from
    row = _inside(source // grid, height, grid, rows[:, None])
    column = _inside(source % grid, width, grid, columns)
    at = (row * width + column).flatten(1)[:, None].expand(-1, 3, -1)
    return images.flatten(2).gather(2, at).view(images.shape)


def _order(keys: Tensor, grid: int, purpose: str, seed: int, device: torch.device) -> Tensor:
    """A random order of the patches of each image: int64 (B, grid^2)."""
    return Streams(keys, purpose, seed, device).words(grid**2, lane=0).argsort(dim=1, stable=True)


def _cells(side: int, grid: int, device: torch.device) -> Tensor:
    """The row of the grid that each row of pixels is in: int64 (side,)."""
    return ((torch.arange(side, device=device) + 1) * grid - 1) // side


def _inside(patch: Tensor, side: int, grid: int, here: Tensor) -> Tensor:
    """The row of pixels that corresponds in another patch: int64 (B, H, W).

    Args:
        patch: the row of the grid that pixels come from, (B, H, W).
        side: rows of pixels.
        grid: rows of the grid.
        here: the row of the grid that pixels are in; with one entry per row of pixels, broadcast to (B, H, W).
    """
    starts = torch.arange(grid + 1, device=patch.device) * side // grid
    offset = torch.arange(side, device=patch.device).view(here.shape) - starts[here]
    return torch.minimum(starts[patch] + offset, starts[patch + 1] - 1)
