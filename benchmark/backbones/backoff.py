"""Running a batch in smaller and smaller parts until it fits in the device's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from benchmark.errors import BackboneError

Part = TypeVar("Part")


class Backoff:
    """Halves the batch on out-of-memory and remembers the size that worked.

    Attributes:
        limit: the largest part that is tried from now on; None until memory has run out once.
    """

    def __init__(self) -> None:
        self.limit: int | None = None

    def run(self, function: Callable[[Tensor], Part], batch: Tensor) -> list[Part]:
        """Calls `function` on consecutive parts of `batch` (B, ...) that together are the whole of it.

        Raises:
            BackboneError: not even one sample fits.
        """
        parts: list[Part] = []
        start = 0
        while start < len(batch):
            size = min(self.limit or len(batch), len(batch) - start)
            try:
                parts.append(function(batch[start : start + size]))
            except torch.OutOfMemoryError:
                fits = False
            else:
                fits = True
            # Outside of the handler: there the exception still holds the frames that hold the memory.
            if fits:
                start += size
                continue
            if size == 1:
                raise BackboneError(
                    "memory for one image",
                    "the device out of memory at batch size 1",
                    "use a smaller input, precision bf16 or another device",
                )
            self.limit = size // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return parts
