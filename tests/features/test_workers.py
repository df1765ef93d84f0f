"""A decoding process that hangs or dies is one line that names what it was to read, and never a hang."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import DataError
from benchmark.features import workers
from benchmark.features.loader import batches


@dataclass(frozen=True)
class Photos:
    """Grey images, one of which is the end of whoever reads it."""

    ids: pa.Array
    trap: int
    kind: str

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Image.Image:
        if index == self.trap and self.kind == "hangs":
            time.sleep(600)
        if index == self.trap and self.kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return Image.fromarray(np.full((8, 8, 3), index, np.uint8))


def photos(kind: str, trap: int = 37) -> Photos:
    return Photos(pa.array([f"a/{k}.png" for k in range(100)]), trap, kind)


def read(reader: Photos) -> list[int]:
    seen: list[int] = []
    for batch in batches(
        reader, Preprocessing(size=(8, 8), crop_pct=1.0), range(100), batch_size=10, workers=2, pin=False
    ):
        seen += batch.positions
    return seen


def test_images_come_in_order_from_processes_that_are_well() -> None:
    assert read(photos("well")) == list(range(100))


def test_a_process_that_hangs_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 3)
    with pytest.raises(DataError, match=r"images within 3 s; found nothing of images a/30.png to a/39.png"):
        read(photos("hangs"))


def test_a_process_that_is_killed_is_named() -> None:
    with pytest.raises(DataError, match=r"died at or soon after images a/\d+.png to a/\d+.png; .*--workers"):
        read(photos("dies"))
