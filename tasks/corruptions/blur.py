"""Blur: out of focus, through frosted glass, moving, zooming, and Gaussian; arithmetic and order as the reference."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tasks.corruptions import filters
from tasks.corruptions.levels import levels, unit

_FIXED = 23  # binary places of the fixed-point weights: 255 * 2^23 is the largest sum that int32 holds


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian filter of `sigma` pixels."""
    return filters.gaussian_levels(images, sigma)


def defocus_blur(images: Tensor, radius: int, alias: float) -> Tensor:
    """Correlation with a disk whose edge is smoothed by a Gaussian of `alias` pixels."""
    return filters.symmetric_levels(images, disk(radius, alias))


@cache
def disk(radius: int, alias: float) -> np.ndarray:
    """The disk as the paper's code draws it with OpenCV: float32 (k, k), k = 17 up to a radius of 8.

    Where the disk touches the rim of its array it is smoothed against its own mirror image, so its sum exceeds one.
    OpenCV's order of operations differs from processor to processor, and with it the last bit of a weight; this is
    the order on one with fused multiply-add.
    """
    reach, size = (8, 3) if radius <= 8 else (radius, 5)
    along = np.arange(-reach, reach + 1)
    aliased = (along[:, None] ** 2 + along**2 <= radius**2).astype(np.float32)
    aliased /= aliased.sum()
    weights = np.exp(-0.5 / alias**2 * (np.arange(size) - size // 2) ** 2)
    smooth = (weights / weights.sum()).astype(np.float32)
    for order in ((1, 0, 2), (0, 1, 2)):  # of the distances from the centre, along rows, then (transposed) columns
        padded = np.pad(aliased, ((0, 0), (size // 2, size // 2)), mode="reflect")
        total = np.zeros_like(aliased)
        for step in order[: size // 2 + 1]:
            low, high = (padded[:, at : at + len(along)] for at in (size // 2 - step, size // 2 + step))
            part = low if step == 0 else low + high
            fused = part.astype(np.float64) * smooth[size // 2 + step] + total  # multiply-add, rounded once
            total = fused.astype(np.float32)
        aliased = total.T
    return aliased


def glass_blur(images: Tensor, moves: Tensor, sigma: float, reach: int, rounds: int) -> Tensor:
    """Gaussian blur, pixels taken from their neighbourhood, Gaussian blur.

    Args:
        images: uint8 (B, 3, H, W).
        moves: where each pixel is taken from, int32 (B, rounds, 2, H - 2 reach, W - 2 reach): steps to the right and
            down, each in -reach .. reach - 1, for the rows and columns reach + 1 .. size - reach, lowest first.
        sigma: of both filters.
        reach: the border that no pixel is taken into.
        rounds: how often pixels are taken.
    """
    if moves.shape[1] != rounds:
        raise ValueError(f"expected {rounds} rounds of moves; found {moves.shape[1]}")
    x = filters.gaussian_levels(images, sigma)
    batch, channels, height, width = x.shape
    source = scattered(moves, height, width, reach).view(batch, 1, -1)
    # from a position among the planes of one channel to one among all planes
    image = torch.arange(batch, device=x.device, dtype=torch.int32).view(-1, 1, 1)
    channel = torch.arange(channels, device=x.device, dtype=torch.int32).view(1, -1, 1)
    pixels = source + (image * (channels - 1) + channel) * (height * width)
    x = x.view(-1).index_select(0, pixels.view(-1)).view(x.shape)
    return filters.gaussian_levels(x, sigma)


def scattered(moves: Tensor, height: int, width: int, reach: int) -> Tensor:
    """Where every pixel comes from in the end: int32 (B * H * W), positions among all images' pixels.

    The reference goes through the pixels from the last to the first and *copies* x[h + dy, w + dx] to x[h, w] (its swap
    of array views is none). So a pixel gets its source's old value if the source comes later in that walk, or the value
    that the source itself has just been given. The chain of such sources only goes forward in the image: following it
    by pointer doubling gives every pixel's origin at once, in as many steps as the chain's length has binary digits.
    """
    batch, rounds = moves.shape[:2]
    total, device = batch * height * width, moves.device
    walked = slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1)
    origin = torch.arange(total, device=device, dtype=torch.int32)
    here = origin.view(batch, height, width)[:, walked[0], walked[1]].contiguous()
    last = height - reach, width - reach
    rows, columns = (torch.arange(reach + 1, end + 1, device=device, dtype=torch.int32) for end in last)
    for turn in range(rounds):
        # node p: what pixel p is given in this round; node total + p: what it had before
        column, row = moves[:, turn, 0] + columns, moves[:, turn, 1] + rows[:, None]
        target = (moves[:, turn, 1] * width).add_(moves[:, turn, 0]).add_(here)
        given = target > here
        for at, end in ((row, last[0]), (column, last[1])):
            given &= at.sub_(reach + 1) >= 0
            given &= at < end - reach
        target += given.logical_not_().int().mul_(total)
        nodes = torch.arange(total, 2 * total, device=device, dtype=torch.int32).repeat(2)
        now = nodes[:total]
        now.view(batch, height, width)[:, walked[0], walked[1]] = target
        while int(now.amin()) < total:
            now.copy_(nodes.index_select(0, now))
        origin = origin.index_select(0, now.sub_(total))
    return origin


def motion_blur(images: Tensor, angles: np.ndarray, radius: int, sigma: float) -> Tensor:
    """Half a Gaussian along a line of 2 `radius` + 1 pixels, at each image's own angle.

    Summed in fixed point, which is exact in any order; pixels whose sum is too near a whole level for fixed point to
    tell are summed again as the reference sums them.

    Args:
        images: uint8 (B, 3, H, W).
        angles: degrees, float64 (B,).
        radius: half the length of the kernel.
        sigma: of the kernel, in pixels.
    """
    exact = motion_weights(radius, sigma)
    fixed = np.round(exact * 2**_FIXED).astype(np.int32)
    lost = np.flatnonzero(fixed == 0)  # taps too light for fixed point still show that a surrounding is not flat
    fixed[lost] = 3 ** np.arange(len(lost))[::-1]
    fixed[0] += 2**_FIXED - fixed.sum()
    slack = math.ceil(255 * np.abs(fixed - exact * 2**_FIXED).sum()) + 1
    rows, columns, kept = motion_path(angles, len(exact), *images.shape[2:])
    total = filters.shifted_sum(images, rows, columns, fixed * kept)
    result = (total >> _FIXED).to(torch.uint8)
    rest = total.bitwise_and_(2**_FIXED - 1)
    # a flat surrounding gives exactly n; n or n - 1 is the reference's result
    flat = ((rest == 0) & (result == images)).to(torch.uint8).mul_(bool(kept.all()))
    known = _flat_motion(radius, sigma, images.device).index_select(0, images.reshape(-1).int()).view(images.shape)
    result += (known - result).mul_(flat)
    near = (rest + slack).bitwise_and_(2**_FIXED - 1) <= 2 * slack
    doubtful = (near & (flat == 0)).nonzero()
    again = _summed_in_order(images, doubtful, rows, columns, exact * kept)
    result.index_put_(tuple(doubtful.T), again)
    return result


def motion_weights(radius: int, sigma: float) -> np.ndarray:
    """Weights of the taps, first the pixel itself: float64 (2 radius + 1,)."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * (sigma**2))) / (np.sqrt(2 * np.pi) * sigma)
    return weights / np.sum(weights)


def motion_path(angles: np.ndarray, taps: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns that each tap lies away, and whether it counts: all int (B, taps).

    The reference stops at the first tap that lies outside of the image.
    """
    point = taps * np.sin(np.deg2rad(angles))[:, None], taps * np.cos(np.deg2rad(angles))[:, None]
    length, step = np.hypot(*point), np.arange(taps)
    rows, columns = (np.ceil(step * part / length - 0.5).astype(np.int64) for part in point)
    kept = np.logical_and.accumulate((np.abs(rows) < height) & (np.abs(columns) < width), axis=1)
    return rows * kept, columns * kept, kept.astype(np.int32)


@cache
def _flat_motion(radius: int, sigma: float, device: torch.device) -> Tensor:
    """What the reference's order of summation makes of flat images: uint8 (256,)."""
    total = np.zeros(256)
    for weight in motion_weights(radius, sigma):
        total = total + weight * np.arange(256)
    return torch.from_numpy(np.clip(total, 0, 255).astype(np.uint8)).to(device)


def _summed_in_order(
    images: Tensor, where: Tensor, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray
) -> Tensor:
    """The reference's sums at some pixels, tap by tap in double precision: uint8 (N,); `where` is int64 (N, 4)."""
    image, channel, row, column = where.T
    down, across, factors = (torch.from_numpy(part).to(images.device)[image] for part in (rows, columns, weights))
    total = torch.zeros(len(where), dtype=torch.float64, device=images.device)
    for tap in range(factors.shape[1]):
        at = (
            (row + down[:, tap]).clamp_(0, images.shape[2] - 1),
            (column + across[:, tap]).clamp_(0, images.shape[3] - 1),
        )
        total += images[image, channel, at[0], at[1]].double() * factors[:, tap]
    return total.clamp_(0, 255).to(torch.uint8)


def zoom_blur(images: Tensor, stop: float, step: float) -> Tensor:
    """Mean of the image and its centre at the zooms 1, 1 + `step`, ... below `stop`."""
    # all planes as the channels of one image, channels last: the fastest layout for `interpolate`
    x = unit(images.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last), torch.float32)
    total = torch.zeros_like(x)
    zooms = np.arange(1, stop, step)
    for zoom in zooms:
        total += x if zoom == 1 else clipped_zoom(x, float(zoom))[..., : x.shape[2], : x.shape[3]].float()
    x = levels((x + total).div_(torch.full((), len(zooms) + 1.0, device=x.device)))
    return x.contiguous().view(images.shape)


def clipped_zoom(x: Tensor, zoom: float) -> Tensor:
    """The centre of (B, C, H, W), enlarged linearly to at least its size as `scipy.ndimage.zoom` does it: float64."""
    size = [math.ceil(n / zoom) for n in x.shape[2:]]
    first = [(n - part) // 2 for n, part in zip(x.shape[2:], size, strict=True)]
    x = x[..., first[0] : first[0] + size[0], first[1] : first[1] + size[1]].double()
    return enlarged(x, zoom)


def enlarged(x: Tensor, zoom: float) -> Tensor:
    """Linear enlargement of float64 (B, C, H, W) with the outermost pixels' centres kept in place."""
    wanted = [round(n * zoom) for n in x.shape[2:]]
    found = interpolate(x, size=wanted, mode="bilinear", align_corners=True)
    for dim, (n, m) in enumerate(zip(x.shape[2:], wanted, strict=True), start=2):
        if (n - 1) / (m - 1) * (m - 1) > n - 1:  # SciPy finds the last row outside of the image by a rounding error
            found.narrow(dim, m - 1, 1).zero_()
    return found
