"""Linear filters in single precision whose results are nevertheless the reference's grey levels, every one of them.

Levels are cut off, not rounded, so the last bits of a sum matter only where it comes near a whole level. A filter here
computes as suits the device, knows how far off it can be, and where that leaves two levels possible it sums again in
double precision and in the reference's order. Flat areas (a white background) are all whole levels; there the sum
depends on the level alone and is made once for each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from tasks.corruptions.levels import levels, unit

_EPS = 2.0**-24  # the largest relative error of one operation in single precision
_WINDOWS = 1 << 21  # pixels looked at in one go when sums are made again
Summed = Callable[[Tensor], Tensor]


@cache
def gaussian_weights(sigma: float, truncate: float = 4.0) -> np.ndarray:
    """A Gaussian cut off at `truncate` standard deviations, as SciPy's filters have it: float64 (2 radius + 1,)."""
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    return weights / weights.sum()


def gaussian(x: Tensor, sigma: tuple[float, float], truncate: float = 4.0, mode: str = "nearest") -> Tensor:
    """Gaussian filter along height, then width, in the precision of `x`.

    Args:
        x: floating (N, H, W).
        sigma: standard deviations in pixels along height and width; 0 for no filter.
        truncate: standard deviations after which the filter ends.
        mode: how the image goes on beyond its border, see `extended`.
    """
    for dim in (1, 2):
        if sigma[dim - 1] == 0:
            continue
        weights = torch.from_numpy(gaussian_weights(sigma[dim - 1], truncate)).to(x)
        x = _correlated(extended(x, dim, len(weights) // 2, mode), weights.unsqueeze(dim - 2))
    return x


def gaussian_levels(images: Tensor, sigma: float) -> Tensor:
    """`skimage.filters.gaussian` of uint8 images (B, C, H, W) whose white is 1, brought back to uint8 levels."""
    planes, size = images.flatten(0, 1), len(gaussian_weights(sigma))
    sums = gaussian(planes.float(), (sigma, sigma))
    again, flat = _in_scipys_order(sigma), _flat_gaussian(sigma, images.device)
    return _certain(sums, 2 * (size + 1), planes, size // 2, "nearest", again, flat).view(images.shape)


def _in_scipys_order(sigma: float) -> Summed:
    """SciPy's sum over uint8 windows (N, k, k): at each line the centre, then pairs from the outside in."""
    weights = [float(weight) for weight in gaussian_weights(sigma)]
    radius = len(weights) // 2

    def summed(windows: Tensor) -> Tensor:
        x = unit(windows, torch.float64)
        for _ in range(2):  # down the columns, then along what is left
            total = x[:, radius] * weights[radius]
            for step in range(radius):
                total += (x[:, step] + x[:, -1 - step]).mul_(weights[step])
            x = total
        return levels(x)

    return summed


@cache
def _flat_gaussian(sigma: float, device: torch.device) -> Tensor:
    return _in_scipys_order(sigma)(_flat_windows(len(gaussian_weights(sigma)))).to(device)


def symmetric_levels(images: Tensor, kernel: np.ndarray) -> Tensor:
    """Correlation of uint8 images (B, C, H, W) with float32 (k, k), mirrored at the outermost pixels' centres."""
    planes = images.flatten(0, 1)
    used = np.flatnonzero(kernel.max(0) > 1e-9)  # beyond lie weights of 1e-22, which no double precision sum can feel
    kernel = kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]
    radius, weights = len(kernel) // 2, torch.from_numpy(kernel).to(images.device)
    x = planes.float()
    for dim in (1, 2):
        x = extended(x, dim, radius, "mirror")
    exact = weights.double().flatten()

    def summed(windows: Tensor) -> Tensor:
        return (windows.double().flatten(1) @ exact).clamp_(0, 255).to(torch.uint8)

    flat = summed(_flat_windows(len(kernel)).to(images.device))
    return _certain(_correlated(x, weights), kernel.size, planes, radius, "mirror", summed, flat).view(images.shape)


def _correlated(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlation of (N, H, W) with one kernel (h, w): each image as a channel of its own, so they share a call."""
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        return conv2d(x[None], kernel.expand(len(x), 1, -1, -1), groups=len(x))[0]


def extended(x: Tensor, dim: int, radius: int, mode: str) -> Tensor:
    """(N, H, W) continued by `radius` pixels at both ends of `dim`, however small the image.

    Args:
        x: the images.
        dim: 1 or 2.
        radius: pixels to add.
        mode: "nearest" repeats the outermost pixel, "reflect" mirrors at its outer edge, "mirror" at its centre.
    """
    size = x.shape[dim]
    ends = []
    for at in (torch.arange(-radius, 0, device=x.device), torch.arange(size, size + radius, device=x.device)):
        if mode != "nearest":
            period = 2 * size if mode == "reflect" else 2 * size - 2
            at = at.remainder(period)
            at = torch.minimum(at, 2 * size - 1 - at if mode == "reflect" else period - at)
        ends.append(x.index_select(dim, at.clamp(0, size - 1)))
    return torch.cat([ends[0], x, ends[1]], dim)


def _certain(sums: Tensor, terms: int, planes: Tensor, radius: int, mode: str, summed: Summed, flat: Tensor) -> Tensor:
    """Levels from sums in single precision, with the doubtful ones made certain.

    Args:
        sums: float32 (N, H, W), white is 255; overwritten.
        terms: roundings that a sum has gone through.
        planes: the uint8 images (N, H, W) that were filtered.
        radius: of the square window that a sum depends on.
        mode: of the image beyond its border, see `extended`.
        summed: makes the sums of uint8 windows (n, k, k) the way they are to be: uint8 (n,).
        flat: what `summed` makes of flat windows of the levels 0..255.
    """
    nearest = sums.round()
    slack = min(terms, 6 * terms**0.5) * _EPS * 255  # errors of rounding do not all point the same way
    doubtful = nearest.sub_(sums).abs_() < slack
    result = sums.clamp_(0, 255).to(torch.uint8)
    wide = extended(extended(planes, 1, radius, mode), 2, radius, mode)
    is_flat = _flat(wide, radius)
    known = flat.index_select(0, planes.reshape(-1).int()).view(planes.shape)
    result += (known - result).mul_(is_flat)
    where = doubtful.logical_and_(is_flat == 0).nonzero()
    size = 2 * radius + 1
    rows = wide.view(-1).as_strided((wide.numel() - size + 1, size), (1, 1))  # every run of `size` pixels in memory
    steps = torch.arange(size, device=planes.device)
    for part in where.split(max(1, _WINDOWS // size**2)):
        plane, row, column = part.T[..., None]
        start = (plane * wide.shape[1] + row + steps) * wide.shape[2] + column
        windows = rows.index_select(0, start.view(-1)).view(-1, size, size)
        result.index_put_(tuple(part.T), summed(windows))
    return result


def _flat(wide: Tensor, radius: int) -> Tensor:
    """1 where a window has one level only, 0 elsewhere: uint8, for images already continued by `radius`."""
    low = high = wide
    for dim in (1, 2):
        reach = 1
        while reach < 2 * radius + 1:  # windows of `reach` pixels become wider by up to as much again
            step = min(reach, 2 * radius + 1 - reach)
            length = low.shape[dim] - step
            low = torch.minimum(low.narrow(dim, 0, length), low.narrow(dim, step, length))
            high = torch.maximum(high.narrow(dim, 0, length), high.narrow(dim, step, length))
            reach += step
    return (low == high).to(torch.uint8)


def _flat_windows(size: int) -> Tensor:
    """A window of each level: uint8 (256, size, size)."""
    return torch.arange(256, dtype=torch.uint8)[:, None, None].expand(-1, size, size)


def shifted_sum(x: Tensor, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> Tensor:
    """Sum over taps of weight * x read `rows` down and `columns` to the right, the border repeating the last pixel.

    Each image has its own offsets, and no loop runs over images: a tap is one copy of a run of memory per image.

    Args:
        x: floating or uint8 (B, C, H, W).
        rows: offset of every tap downwards, int (B, taps).
        columns: and to the right.
        weights: (B, taps), of the type of the sum (that of `x`, or int32); zero leaves a tap out.
    """
    batch, channels, height, width = x.shape
    top, bottom = max(0, -int(rows.min())), max(0, int(rows.max()))
    left, right = max(0, -int(columns.min())), max(0, int(columns.max()))
    down = torch.arange(-top, height + bottom, device=x.device).clamp(0, height - 1)
    ends = x[..., :1].expand(-1, -1, -1, left), x[..., -1:].expand(-1, -1, -1, right)
    padded = torch.cat([ends[0], x, ends[1]], 3).index_select(2, down)
    pitch, plane = padded.shape[3], padded.shape[2] * padded.shape[3]
    run = height * pitch - (pitch - width)  # from an image's first pixel to its last, the borders between rows included
    runs = padded.view(-1).as_strided((padded.numel() - run + 1, run), (1, 1))
    first = torch.arange(batch * channels, device=x.device).view(batch, channels, 1) * plane
    start = torch.from_numpy((rows + top) * pitch + columns + left).to(x.device)[:, None] + first
    start = start.view(batch * channels, -1)
    factors = torch.from_numpy(weights).to(x.device).repeat_interleave(channels, 0)
    total = torch.zeros(batch * channels, run, dtype=factors.dtype, device=x.device)
    values = torch.empty(batch * channels, run, dtype=x.dtype, device=x.device)
    product = torch.empty_like(total)
    for tap in range(weights.shape[1]):
        torch.index_select(runs, 0, start[:, tap], out=values)
        if not total.is_floating_point() and (weights[:, tap] == weights[0, tap]).all():
            total.add_(product.copy_(values), alpha=int(weights[0, tap]))
        else:  # two roundings where there are any: they are the reference's
            total += torch.mul(values, factors[:, tap, None], out=product)
    total = pad(total, (0, pitch - width)).view(batch, channels, height, pitch)
    return total[..., :width]
