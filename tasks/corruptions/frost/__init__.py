"""Five drawn pictures of frost (`grow` makes them), enlarged to a size and cropped for a batch."""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

COUNT = 5
HEIGHT, WIDTH = 448, 672  # of each picture


def crops(draws: np.ndarray, height: int, width: int, device: torch.device) -> Tensor:
    """A random part of a random picture for each image: uint8 (B, 3, height, width).

    Args:
        draws: uniform in [0, 1), (B, 3): which picture, which row and which column to begin at.
        height: of the images. Pictures are enlarged until they are at least a tenth larger.
        width: likewise.
        device: of the result.
    """
    # the reference's rule: 1.1 times what covers the image, never less than 1.1 times the picture's own size
    pictures = _enlarged(max(1.0, height / HEIGHT, width / WIDTH) * 1.1, device)
    rows, columns = pictures.shape[2:]
    which, top, left = (np.floor(draws * [COUNT, rows - height, columns - width])).astype(np.int64).T
    runs = pictures.view(-1).as_strided((pictures.numel() - width + 1, width), (1, 1))
    planes = which[:, None] * 3 + np.arange(3)
    start = (planes[:, :, None] * rows + top[:, None, None] + np.arange(height)) * columns + left[:, None, None]
    return runs.index_select(0, torch.from_numpy(start.reshape(-1)).to(device)).view(-1, 3, height, width)


@lru_cache(maxsize=4)
def _enlarged(factor: float, device: torch.device) -> Tensor:
    """All pictures, enlarged: uint8 (COUNT, 3, height, width)."""
    files = [Path(__file__).with_name(f"{number}.jpg") for number in range(1, COUNT + 1)]
    pictures = torch.stack([torch.from_numpy(np.array(Image.open(file))) for file in files]).permute(0, 3, 1, 2)
    size = [ceil(side * factor) for side in (HEIGHT, WIDTH)]
    larger = interpolate(pictures.float(), size=size, mode="bicubic")
    return larger.round_().clamp_(0, 255).to(torch.uint8).contiguous().to(device)
