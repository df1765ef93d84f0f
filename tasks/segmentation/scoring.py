"""From predicted maps to counts of pixels at the full resolution of each mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmark.data.annotations import IGNORE
from benchmark.features.masks import nearest, read_masks
from benchmark.metrics.columns import join, segmentation_table
from benchmark.task import DenseInputs

Found = TypeVar("Found")


def enlarged(scores: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """(H, W) best class of the sum of scores (C, h, w), each enlarged bilinearly; the lowest class among equals."""
    whole = interpolate(scores[0][None], size, mode="bilinear", align_corners=False)[0]
    for each in scores[1:]:
        whole += interpolate(each[None], size, mode="bilinear", align_corners=False)[0]
    return whole.argmax(dim=0)


def stretched(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) classes of a label map (h, w) by nearest neighbour: the way back of how masks were squashed."""
    return torch.from_numpy(nearest(labels.cpu().numpy(), size)).to(labels.device)


def pixel_counts(predicted: Tensor, mask: np.ndarray, classes: int) -> np.ndarray:
    """(3, C) pixels of each class: predicted and right, predicted, labelled; pixels without a label count nowhere.

    Args:
        predicted: (H, W) class of every pixel, below C.
        mask: (H, W) uint16 class or `IGNORE`.
        classes: C.
    """
    target = torch.from_numpy(mask.astype(np.int32)).to(predicted.device)
    kept = target != IGNORE
    target, guess = target[kept], predicted[kept]
    found = (guess[guess == target], guess, target)
    return torch.stack([torch.bincount(part, minlength=classes) for part in found]).cpu().numpy()


def counted(
    inputs: DenseInputs,
    variants: Sequence[str],
    predicted: Iterable[Sequence[Found]],
    at_size: Callable[[Found, tuple[int, int]], Tensor],
) -> pa.Table:
    """The table of predictions of the reported split.

    Args:
        inputs: for the masks and ids.
        variants: names of the protocol's settings.
        predicted: for every reported image, in order, what is predicted per variant.
        at_size: brings it to the size of a mask, as classes (H, W): `enlarged` or `stretched`.

    Raises:
        DataError: see `read_masks`.
    """
    classes, total = len(inputs.classes), len(inputs.test)
    rows = np.zeros((len(variants), 3, total, classes), dtype=np.int64)
    masks = read_masks(inputs.test.masks, inputs.test.rows, None, inputs.workers)
    for index, (mask, maps) in enumerate(zip(masks, predicted, strict=True)):
        for place, found in enumerate(maps):
            rows[place, :, index] = pixel_counts(at_size(found, (mask.shape[0], mask.shape[1])), mask, classes)
        inputs.progress(index + 1, total, "reported images")
    ids = inputs.test.ids
    return join(
        [
            segmentation_table(ids, found[0], found[1], found[2], name)
            for found, name in zip(rows, variants, strict=True)
        ]
    )
