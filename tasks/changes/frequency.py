"""Low and high spatial frequencies, by ideal radial filters as in Wang et al. 2020 ("High-frequency component helps
explain the generalization of convolutional neural networks", section 3.2; HaohanWang/HFC, frequencyHelper.py).

A frequency belongs to the low ones where its distance from zero is below the cut-off, else to the high ones. Distances
are in cycles per image: along the shorter side of one that is not square. Spectra are computed in float64, so that the
rounding to grey levels is the same whatever the batch and the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def highest_frequency(height: int, width: int) -> float:
    """Cycles per image in the corner of the spectrum; above it there is nothing."""
    down, across = (side // 2 / side for side in (height, width))
    return float(min(height, width) * (down**2 + across**2) ** 0.5)


def bands(images: Tensor, cutoffs: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """For each cut-off the images' frequencies below it, and the others.

    Both keep the mean of each channel: of low frequencies it is one, to high ones it is added. Values are rounded to
    grey levels and clipped.

    Args:
        images: uint8 (B, 3, H, W).
        cutoffs: cycles per image, positive.

    Yields:
        Two uint8 (B, 3, H, W).
    """
    height, width = images.shape[2:]
    x = images.double()
    spectrum = torch.fft.rfft2(x)
    mean = x.mean(dim=(2, 3), keepdim=True)
    down = torch.fft.fftfreq(height, dtype=torch.float64, device=images.device)
    across = torch.fft.rfftfreq(width, dtype=torch.float64, device=images.device)
    distance = (down[:, None] ** 2 + across**2).sqrt_().mul_(min(height, width))
    for cutoff in cutoffs:
        kept = distance < cutoff
        reach = int(kept.any(dim=0).sum())  # columns of the spectrum beyond are empty: half of the transform needs them
        part = torch.fft.ifft(spectrum[..., :reach] * kept[:, :reach], dim=-2)
        low = torch.fft.irfft(part, n=width, dim=-1)
        yield _levels(low), _levels(x - low + mean)


def _levels(x: Tensor) -> Tensor:
    return x.round().clamp_(0, 255).to(torch.uint8)
