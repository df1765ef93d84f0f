"""Digital corruptions: brightness, contrast, saturation, elastic transform, pixelation and JPEG compression."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from tasks.corruptions import filters
from tasks.corruptions.colour import recoloured
from tasks.corruptions.levels import levels, unit

_WHOLE = 1e-9  # levels: how near a whole level the order of a sum could decide


def contrast(images: Tensor, factor: float) -> Tensor:
    """Pulls every channel towards its mean: what remains of the distance is `factor`.

    A channel's 256 possible results are computed once and looked up. The mean is exact; where the reference's rounded
    one could decide between two levels, the reference's sum is made.
    """
    planes = images.flatten(2)
    means = planes.sum(2, dtype=torch.int64).double().div_(_number(255.0 * planes.shape[2], images.device))
    table = _contrasted(means, factor)
    doubtful = ((table - table.round()).abs_() < _WHOLE).any(2)
    if bool(doubtful.any()):
        # NumPy adds up pixel after pixel; on the CPU, where a running sum goes in that order
        sums = unit(planes[doubtful].cpu(), torch.float64).cumsum(1)[:, -1]
        means[doubtful] = sums.div_(planes.shape[2]).to(images.device)
        table = _contrasted(means, factor)
    table = table.clamp_(0, 255).to(torch.uint8)
    first = torch.arange(table.shape[0] * 3, dtype=torch.int32, device=images.device).view(-1, 3, 1) * 256
    return table.view(-1).index_select(0, (planes + first).view(-1)).view(images.shape)


def _contrasted(means: Tensor, factor: float) -> Tensor:
    """The result for every level under a mean of (B, 3), white being 1: levels, not cut off, float64 (B, 3, 256)."""
    x = unit(torch.arange(256, dtype=torch.uint8, device=means.device), torch.float64)
    return ((x - means[..., None]) * factor + means[..., None]).clamp_(0, 1).mul_(255)


def _number(value: float, device: torch.device) -> Tensor:
    """A divisor on the device: CUDA multiplies by the reciprocal of a Python number."""
    return torch.full((), value, dtype=torch.float64, device=device)


def brightness(images: Tensor, more: float) -> Tensor:
    """Adds to the value of HSV."""
    return recoloured(images, value=(1.0, more), saturation=(1.0, 0.0))


def saturate(images: Tensor, factor: float, more: float) -> Tensor:
    """Multiplies the saturation of HSV and adds to it."""
    return recoloured(images, value=(1.0, 0.0), saturation=(factor, more))


def elastic_transform(images: Tensor, uniforms: Tensor, alpha: float) -> Tensor:
    """Moves every pixel by a smooth random field of displacements.

    Args:
        images: uint8 (B, 3, H, W).
        uniforms: in [0, 1), floating (B, 2, H, W): the raw displacements to the right and down.
        alpha: how far.
    """
    height, width = images.shape[2:]
    most = height * 0.005
    raw = (uniforms * (2 * most)).sub_(most).flatten(0, 1)
    smooth = filters.gaussian(raw, (height * 0.01, width * 0.01), truncate=3.0, mode="reflect")
    moved = smooth.mul_(alpha).float().double().view(uniforms.shape)
    moved[:, 0] += torch.arange(width, dtype=torch.float64, device=images.device)
    moved[:, 1] += torch.arange(height, dtype=torch.float64, device=images.device)[:, None]
    # grid_sample's coordinates are -1 and 1 at the image's outer edges
    size = torch.tensor([width, height], dtype=torch.float64, device=images.device)
    grid = moved.permute(0, 2, 3, 1).mul(2).add_(1).div_(size).sub_(1)
    x = unit(images, torch.float32).double()
    found = grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return levels(found.float())


def pixelate(images: Tensor, share: float) -> Tensor:
    """Shrinks the image to `share` of its sides by averaging, and repeats the pixels.

    Rows are shortened first, as Pillow did when ImageNet-C was made. Pillow 13 begins with the columns of images more
    than about twice as tall as wide, whose levels differ by one here and there.
    """
    x = images.transpose(2, 3)  # always the second axis is worked on: rows of memory are quick to copy
    for _ in range(2):
        x = _shrunk(x.contiguous(), int(x.shape[2] * share)).transpose(2, 3)
    x = x.transpose(2, 3)
    for size in images.shape[2:]:
        x = x.contiguous().index_select(2, _repeated(x.shape[2], size, images.device)).transpose(2, 3)
    return x.contiguous()


def _shrunk(x: Tensor, wanted: int) -> Tensor:
    """Pillow's box filter along the rows of a uint8 image: fixed-point weights of 22 bits, rounded to uint8."""
    rows, weights = _box(x.shape[2], wanted, x.device)
    total = torch.full((), 1 << 21, dtype=torch.int32, device=x.device)
    for row, weight in zip(rows, weights, strict=True):
        total = total + x.index_select(2, row).int().mul_(weight[:, None])
    return (total >> 22).to(torch.uint8)


@cache
def _box(size: int, wanted: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels that each result averages, and their weights times 2^22: int64 and int32 (taps, wanted)."""
    scale = size / wanted
    centre = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((centre - scale * 0.5 + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + scale * 0.5 + 0.5).astype(np.int64), size)
    at = first + np.arange((last - first).max())[:, None]
    offset = (at - centre + 0.5) / scale
    weights = np.where((at < last) & (offset > -0.5) & (offset <= 0.5), 1.0, 0.0)
    weights = (weights / weights.sum(0) * (1 << 22) + 0.5).astype(np.int32)
    return torch.from_numpy(np.minimum(at, size - 1)).to(device), torch.from_numpy(weights).to(device)


@cache
def _repeated(size: int, wanted: int, device: torch.device) -> Tensor:
    """The pixel nearest to each pixel of the larger image, found like Pillow by steps that add up."""
    steps = np.full(wanted, size / wanted)
    steps[0] /= 2
    return torch.from_numpy(np.minimum(np.cumsum(steps).astype(np.int64), size - 1)).to(device)


def jpeg_compression(images: Tensor, quality: int) -> Tensor:
    """Through Pillow's JPEG and back, on the CPU whatever the device: a GPU's codec gives other pixels."""

    def through(image: np.ndarray) -> Tensor:
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return torch.from_numpy(np.array(Image.open(file)))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = list(pool.map(through, images.permute(0, 2, 3, 1).contiguous().cpu().numpy()))
    return torch.stack(found).permute(0, 3, 1, 2).contiguous().to(images.device)
