"""Grey levels and back: uint8 images as numbers whose white is 1, and numbers cut off to uint8."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Grey levels with white as 1, in a floating type.

    The divisor is a tensor: by a Python number CUDA does not divide, it multiplies by the reciprocal.
    """
    return images.to(dtype).div_(torch.full((), 255.0, dtype=dtype, device=images.device))


def levels(x: Tensor) -> Tensor:
    """Values whose white is 1 as uint8, in place: clipped, times 255, cut off."""
    return x.clamp_(0, 1).mul_(255).to(torch.uint8)
