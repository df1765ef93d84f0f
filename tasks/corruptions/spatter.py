"""Spatter: drops of water (severities 1 to 3) or mud (4 and 5) on the lens.

Water is shaded by OpenCV's operators, which are written here for batches: Canny's edges, the chamfer distance to them,
histogram equalisation.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from tasks.corruptions import filters
from tasks.corruptions.levels import levels, unit

_WATER = (175, 238, 238)  # pale turquoise
_MUD = (63, 42, 20)  # brown
_FAR = 20  # distances end here
_HIGH, _LOW = 150, 50  # thresholds of Canny's edges


def spatter(
    images: Tensor, normals: Tensor, mean: float, scale: float, sigma: float, threshold: float, amount: float, mud: int
) -> Tensor:
    """Drops where smoothed noise is high; where it never is (in small images), none.

    Args:
        images: uint8 (B, 3, H, W).
        normals: standard normal, floating (B, H, W).
        mean: of the noise.
        scale: its standard deviation.
        sigma: of the Gaussian filter that smooths it, in pixels.
        threshold: what counts as high.
        amount: opacity of water, or the width of mud's soft edge in pixels.
        mud: 0 for water, 1 for mud.
    """
    liquid = filters.gaussian((normals * scale).add_(mean), (sigma, sigma))
    x = unit(images, torch.float32)
    if mud:
        return _muddied(x, liquid > threshold, amount)
    drops = (liquid * (liquid >= threshold) * 255).to(torch.uint8)
    shade = drops * _shading(drops)
    brightest = shade.amax((1, 2), keepdim=True)
    shade = (shade / brightest.clamp(min=1)).mul_(amount)[:, None]
    return levels(x.add_(shade * _colour(_WATER, images.device).float()))


def _muddied(x: Tensor, drops: Tensor, sigma: float) -> Tensor:
    """Mud over float32 images (B, 3, H, W) where `drops` (B, H, W) says, its edge softened by `sigma` pixels."""
    cover = drops.double()
    for width in ((sigma, 0.0), (0.0, sigma)):  # SciPy keeps single precision between the two passes
        cover = filters.gaussian(cover, width).float().double()
    cover = (cover * (cover >= _single_08())).float()[:, None]
    return levels((x * (1 - cover)).double().add_(_colour(_MUD, x.device) * cover))


def _single_08() -> float:
    """0.8 in single precision, in which the comparison is made."""
    return float(torch.tensor(0.8))


@cache
def _colour(rgb: tuple[int, int, int], device: torch.device) -> Tensor:
    """A colour with white as 1: float64 (3, 1, 1)."""
    return torch.tensor(rgb, dtype=torch.float64).div_(255).view(3, 1, 1).to(device)


def _shading(drops: Tensor) -> Tensor:
    """Light on the drops (uint8 (B, H, W)): their distance from an edge, equalised and embossed: float32."""
    x = _box(distances(edges(drops)).double().clamp_(max=_FAR)).to(torch.uint8)
    x = _equalised(x).double()
    x = _neighbours(x, ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))).clamp_(0, 255)
    return _box(x).round_().float()


def _neighbours(x: Tensor, kernel: tuple[tuple[int, int, int], ...]) -> Tensor:
    """A sum over the 3 x 3 neighbourhood, mirrored at the outermost pixels' centres: float64 (B, H, W)."""
    wide = filters.extended(filters.extended(x, 1, 1, "mirror"), 2, 1, "mirror")
    height, width = x.shape[1:]
    total = torch.zeros_like(x)
    for row in range(3):
        for column in range(3):
            if kernel[row][column]:
                total += wide[:, row : row + height, column : column + width] * kernel[row][column]
    return total


def _box(x: Tensor) -> Tensor:
    """The mean of the 3 x 3 neighbourhood: float64."""
    return _neighbours(x, ((1, 1, 1),) * 3).mul_(1 / 9)


def edges(x: Tensor) -> Tensor:
    """Canny's edges of uint8 images (B, H, W) with the thresholds 50 and 150, as OpenCV finds them: bool."""
    wide = filters.extended(filters.extended(x.int(), 1, 1, "nearest"), 2, 1, "nearest")
    height, width = x.shape[1:]

    def at(values: Tensor, row: int, column: int) -> Tensor:
        """The neighbour at an offset, from values continued by one pixel."""
        return values[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    across = sum((at(wide, row, 1) - at(wide, row, -1)) * (2 - abs(row)) for row in (-1, 0, 1))
    down = sum((at(wide, 1, column) - at(wide, -1, column)) * (2 - abs(column)) for column in (-1, 0, 1))
    assert isinstance(across, Tensor) and isinstance(down, Tensor)
    strength = across.abs() + down.abs()
    around = torch.nn.functional.pad(strength, (1, 1, 1, 1))
    # the gradient's direction in sectors: tan(22.5 degrees) as a fraction of 2^15, and tan(67.5) = tan(22.5) + 2
    flat_limit = across.abs().long() * 13573
    slope = down.abs().long() << 15
    flat, steep = slope < flat_limit, slope > flat_limit + (across.abs().long() << 16)
    falling = (across ^ down) < 0
    along_row = (strength > at(around, 0, -1)) & (strength >= at(around, 0, 1))
    along_column = (strength > at(around, -1, 0)) & (strength >= at(around, 1, 0))
    rising_peak = (strength > at(around, -1, -1)) & (strength > at(around, 1, 1))
    falling_peak = (strength > at(around, -1, 1)) & (strength > at(around, 1, -1))
    diagonal = (falling & falling_peak) | (~falling & rising_peak)
    peak = (flat & along_row) | (steep & along_column) | (~flat & ~steep & diagonal)
    weak, strong = peak & (strength > _LOW), peak & (strength > _HIGH)
    while True:  # strong edges go on along weak ones
        grown = (max_pool2d(strong[:, None].float(), 3, 1, 1)[:, 0] > 0) & weak
        if torch.equal(grown, strong):
            return strong
        strong = grown


def distances(edge: Tensor) -> Tensor:
    """Chamfer distance to the nearest edge (bool (B, H, W)) by OpenCV's 5 x 5 mask: float32.

    In a row `y` away the nearest edge is the one fewest columns away, so the distance is the least, over rows, of a
    table's value; rows further than 20 give distances that are cut off anyway.
    """
    height, width = edge.shape[1:]
    column = torch.arange(width, device=edge.device).expand(edge.shape)
    none = -2 * (_FAR + 1)
    before = torch.where(edge, column, none).cummax(2).values
    after = torch.where(edge.flip(2), column, none).cummax(2).values.flip(2)
    steps = torch.minimum(column - before, width - 1 - column - after).clamp_(max=_FAR + 1).int()
    table = _chamfer(edge.device)
    result = table[0].index_select(0, steps.view(-1)).view(steps.shape)
    for rows in range(1, min(_FAR, height - 1) + 1):
        found = table[rows].index_select(0, steps.view(-1)).view(steps.shape)
        result[:, rows:] = torch.minimum(result[:, rows:], found[:, :-rows])
        result[:, :-rows] = torch.minimum(result[:, :-rows], found[:, rows:])
    return result


@cache
def _chamfer(device: torch.device) -> Tensor:
    """Distances by rows and columns: steps of 1, 1.4 (diagonal) and 2.1969 (a knight's move): float32 (22, 22)."""
    straight, diagonal, knight = np.array([1, 1.4, 2.1969], dtype=np.float32).astype(np.float64)
    side = torch.arange(_FAR + 2)
    more, less = torch.maximum(side[:, None], side), torch.minimum(side[:, None], side)
    shallow = less * knight + (more - 2 * less) * straight
    sloping = (more - less) * knight + (2 * less - more) * diagonal
    return torch.where(more >= 2 * less, shallow, sloping).float().to(device)


def _equalised(x: Tensor) -> Tensor:
    """OpenCV's histogram equalisation of each of the uint8 images (B, H, W)."""
    batch = torch.arange(len(x), device=x.device)[:, None] * 256
    values = (x.flatten(1).long() + batch).view(-1)
    counts = torch.bincount(values, minlength=256 * len(x)).view(-1, 256)
    total = x[0].numel()
    lowest = (counts > 0).int().argmax(1, keepdim=True)
    first = counts.gather(1, lowest)
    scale = torch.full((), 255.0, device=x.device) / (total - first).clamp(min=1)
    table = ((counts.cumsum(1) - first).clamp_(min=0).float() * scale).round_().clamp_(0, 255)
    table = torch.where(first == total, lowest.float(), table).to(torch.uint8)
    return table.view(-1).index_select(0, values).view(x.shape)
