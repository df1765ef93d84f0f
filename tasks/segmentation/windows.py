"""Reported images under windows: scores of overlapping squares, averaged where they overlap, at the size of the mask.

As mmsegmentation's `slide_inference` places and averages them. An image smaller than a window is padded to one, since
encoders are opened for one size; what was padded is cut off again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from benchmark.data.dataset import ImageReader, Split
from benchmark.errors import DataError
from benchmark.features.workers import decoded, default_workers
from tasks.segmentation.crops import Box, resized, scaled
from tasks.segmentation.scoring import at_scale, best_class


def placed(size: tuple[int, int], side: int) -> tuple[Box, ...]:
    """Windows of `side` pixels over an image of `size`, two thirds of a side apart, row by row.

    The last of a row or column is shifted back to end where the image does; where the image is smaller than a window
    there is one, which reaches beyond it.
    """
    stride = max(1, side * 2 // 3)
    tops, lefts = (
        [
            max(min(step * stride + side, length) - side, 0)
            for step in range((max(length - side, 0) + stride - 1) // stride + 1)
        ]
        for length in size
    )
    return tuple(Box(top, left, side, side) for top in tops for left in lefts)


def cut(image: Tensor, boxes: Sequence[Box], fill: tuple[int, int, int]) -> Tensor:
    """(n, 3, S, S) pixels of an image (3, H, W) under windows, padded with a colour where it ends."""
    height, width = image.shape[-2:]
    beyond = max(box.top + box.height for box in boxes), max(box.left + box.width for box in boxes)
    if beyond != (height, width):
        padded = torch.tensor(fill, dtype=image.dtype)[:, None, None].repeat(1, *beyond)
        padded[:, :height, :width] = image
        image = padded
    return torch.stack([image[:, box.top : box.top + box.height, box.left : box.left + box.width] for box in boxes])


@dataclass(frozen=True)
class Windowed:
    """The scores of an image under its windows.

    Attributes:
        scores: (n, C, h, w) per size of map; enlarged to the window and added they are its scores.
        boxes: n windows.
        size: (H, W) of the image that they stand on.
    """

    scores: Sequence[Tensor]
    boxes: tuple[Box, ...]
    size: tuple[int, int]

    def plane(self, index: int) -> Tensor:
        """(H, W) scores of a class, averaged where windows overlap."""
        height, width = self.size
        total = self.scores[0].new_zeros(height, width)
        for place, box in enumerate(self.boxes):
            side = (box.height, box.width)
            here = at_scale(self.scores[0][place, index], side)
            for each in self.scores[1:]:
                here += at_scale(each[place, index], side)
            part = total[box.top : box.top + box.height, box.left : box.left + box.width]
            part += here[: part.shape[0], : part.shape[1]]
        return total / self.counts

    @cached_property
    def counts(self) -> Tensor:
        """(H, W) how many windows see each pixel."""
        seen = self.scores[0].new_zeros(*self.size)
        for box in self.boxes:
            seen[box.top : box.top + box.height, box.left : box.left + box.width] += 1
        return seen


def joined(found: Windowed, size: tuple[int, int]) -> Tensor:
    """(H, W) best class at each pixel of a mask of `size`; one class at a time, so that memory stays flat."""
    return best_class(lambda index: at_scale(found.plane(index), size), range(found.scores[0].shape[1]), size)


class _Scaled(TorchDataset[np.ndarray | DataError]):
    """What a worker does: read an image and bring it to its scale."""

    def __init__(self, reader: ImageReader, short: int, long: int) -> None:
        self.reader, self.short, self.long = reader, short, long

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> np.ndarray | DataError:
        try:
            image = np.asarray(self.reader.read(index))
        except DataError as error:
            return error
        size = scaled(image.shape[0], image.shape[1], self.short, self.long)
        return np.ascontiguousarray(resized(image, size).transpose(2, 0, 1))


def scaled_images(split: Split, short: int, long: int, workers: int | None) -> Iterator[Tensor]:
    """The images of a split in order, (3, H, W) uint8 at the scale of the protocol, decoded in worker processes.

    Raises:
        DataError: an image that cannot be read.
    """
    count = default_workers() if workers is None else workers
    for found in decoded(_Scaled(split.reader, short, long), count, "image {}".format, batch_size=None):
        if isinstance(found, DataError):
            raise found
        yield torch.as_tensor(found)
