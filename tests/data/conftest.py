"""Small image trees to open, change and break."""

from __future__ import annotations

import io
import multiprocessing.reduction
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

Anything = TypeVar("Anything")


def travelled(thing: Anything) -> Anything:
    """What a worker process would have of it."""
    pickler = multiprocessing.reduction.ForkingPickler
    arrived: Anything = pickler.loads(pickler.dumps(thing))
    return arrived


def encoded(seed: int, kind: str = "png", size: int = 8) -> bytes:
    """An image of noise that differs from seed to seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes `{relative path: seed or bytes}` below a new folder."""

    def write(files: dict[str, int | bytes], folder: str = "tree") -> Path:
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(content) if isinstance(content, int) else content)
        return tmp_path / folder

    return write


@pytest.fixture
def tree(write_tree: Callable[..., Path]) -> Path:
    """Two classes, three train and two test images each."""
    files = {f"train/{c}/{i}.png": 10 * k + i for k, c in enumerate(("cat", "dog")) for i in range(3)}
    files |= {f"test/{c}/{i}.png": 100 + 10 * k + i for k, c in enumerate(("cat", "dog")) for i in range(2)}
    return write_tree(files)
