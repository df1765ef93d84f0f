"""Random views of a batch of images, drawn and applied for the whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the grey of Pillow and torchvision


@dataclass(frozen=True)
class Augmentation:
    """What a random view may differ in; every probability and strength is per image.

    Attributes:
        area: (lowest, highest) share of the image that a crop keeps; crops have aspects from 3:4 to 4:3.
        jitter: brightness, contrast and saturation are scaled by 1 - jitter to 1 + jitter.
        hue: the colour circle is turned by up to this share of a turn, either way.
        colours: probability of the changes of colour.
        grey: probability of dropping the colours.
        blur: probability of a Gaussian blur of 0.3 to 1.2 pixels.
        size: side of the views, in pixels. Less than the images' own, since a crop shows things larger than they are:
            so training sees them about as large as an evaluation does (Touvron et al. 2019), at half the cost.
    """

    area: tuple[float, float] = (0.5, 1.0)
    jitter: float = 0.0
    hue: float = 0.0
    colours: float = 0.8
    grey: float = 0.0
    blur: float = 0.0
    size: int = 48

    def __call__(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """One view of each image.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            draws: where the random numbers come from.

        Returns:
            (B, 3, size, size) float in [0, 1].
        """
        views = crop_and_flip(images, self.area, self.size, draws)
        if self.jitter or self.hue:
            changed = recolour(views, self.jitter, self.hue, draws)
            views = torch.where(_happens(len(views), self.colours, draws), changed, views)
        if self.grey:
            views = torch.where(_happens(len(views), self.grey, draws), luma(views).expand_as(views), views)
        if self.blur:
            views = torch.where(_happens(len(views), self.blur, draws), gaussian_blur(views, draws), views)
        return views


def _uniform(low: float, high: float, count: int, draws: torch.Generator) -> Tensor:
    """(count,) numbers in [low, high)."""
    return torch.rand(count, generator=draws) * (high - low) + low


def _happens(count: int, probability: float, draws: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=draws) < probability).view(-1, 1, 1, 1)


def crop_and_flip(images: Tensor, area: tuple[float, float], size: int, draws: torch.Generator) -> Tensor:
    """A random crop of each image, resized (bilinear) and mirrored half of the time.

    Args:
        images: (B, 3, H, W).
        area: (lowest, highest) share of the image that is kept.
        size: side of the result, in pixels.
        draws: where the random numbers come from.
    """
    count = len(images)
    share = _uniform(*area, count, draws)
    aspect = torch.exp(_uniform(-0.2877, 0.2877, count, draws))  # log(4/3), as in RandomResizedCrop
    width, height = (share * aspect).sqrt().clamp(max=1), (share / aspect).sqrt().clamp(max=1)
    flip = torch.where(torch.rand(count, generator=draws) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width * flip, height
    theta[:, 0, 2] = _uniform(-1, 1, count, draws) * (1 - width)
    theta[:, 1, 2] = _uniform(-1, 1, count, draws) * (1 - height)
    grid = functional.affine_grid(theta, [count, images.shape[1], size, size], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) grey of (B, 3, H, W)."""
    return torch.einsum("bchw,c->bhw", images, torch.tensor(LUMA)).unsqueeze(1)


def recolour(images: Tensor, jitter: float, hue: float, draws: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue changed at random, as one affine map of the colours per image.

    The hue is turned about the grey axis (Rodrigues' rotation about (1, 1, 1)), which costs a matrix product instead of
    a conversion to HSV and back.

    Args:
        images: (B, 3, H, W) in [0, 1].
        jitter: brightness, contrast and saturation are scaled by 1 - jitter to 1 + jitter.
        hue: the largest turn either way, in turns.
        draws: where the random numbers come from.
    """
    count = len(images)
    brightness, contrast, saturation = (_uniform(1 - jitter, 1 + jitter, count, draws).view(-1, 1, 1) for _ in range(3))
    turn = (_uniform(-hue, hue, count, draws) * 2 * torch.pi).view(-1, 1, 1)
    eye, third = torch.eye(3), torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / 3**0.5
    rotation = turn.cos() * eye + (1 - turn.cos()) * third + turn.sin() * cross
    grey = torch.tensor(LUMA).expand(3, 3)
    colours = brightness * contrast * (saturation * rotation + (1 - saturation) * grey)
    mean = luma(images).mean((2, 3)).view(-1, 1, 1)
    offset = brightness * (1 - contrast) * mean  # contrast is about the mean grey
    mixed = torch.baddbmm(offset, colours, images.flatten(2))
    return mixed.clamp_(0, 1).view_as(images)


def gaussian_blur(images: Tensor, draws: torch.Generator) -> Tensor:
    """Each image blurred by its own Gaussian of 0.3 to 1.2 pixels.

    Args:
        images: (B, 3, H, W).
        draws: where the random numbers come from.
    """
    count, channels, height, width = images.shape
    reach = 3
    sigma = _uniform(0.3, 1.2, count, draws).view(-1, 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0).unsqueeze(1)  # (B * 3, 1, 7)
    flat = functional.pad(images.reshape(1, -1, height, width), (reach,) * 4, mode="reflect")
    flat = functional.conv2d(flat, kernel.unsqueeze(2), groups=count * channels)
    flat = functional.conv2d(flat, kernel.unsqueeze(3), groups=count * channels)
    return flat.view(images.shape)
