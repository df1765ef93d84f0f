"""JPEG photos to measure with: made once per process, of the size and weight of ImageNet's."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 375  # the commonest size of ImageNet's photos


@cache
def photo_folder(count: int) -> Path:
    """An image folder with `count` training photos in two classes and 20 test photos."""
    root = Path(tempfile.mkdtemp(prefix="transferbench-photos-"))
    rng = np.random.default_rng(0)
    for index in range(count + 20):
        split = "train" if index < count else "test"
        folder = root / split / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        _photo(rng).save(folder / f"{index:06d}.jpg", quality=92)
    return root


def _photo(rng: np.random.Generator) -> Image.Image:
    """Structure at several scales and a little noise: about 100 kB as a JPEG, as ImageNet's average."""
    total = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    for cells, weight in ((3, 1.0), (12, 0.6), (48, 0.4), (150, 0.25)):
        small = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        total += weight * np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    total = total / 2.25 + rng.normal(0, 5, total.shape)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))
