"""From predicted maps to counts of pixels at the full resolution of each mask."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate, max_pool2d

from benchmark.data.annotations import IGNORE, MaskReader
from benchmark.data.sample import digest_order
from benchmark.features.masks import nearest, read_masks
from benchmark.metrics.columns import join, segmentation_table
from benchmark.task import DenseInputs, ImageInputs

Found = TypeVar("Found")

KEPT_MAPS = 24
"""Images whose predicted map is stored, for people to look at: the first in the order of a digest of their ids."""
_MAP_SIDE = 512  # pixels of the longer side of a stored map
_SLACK = 1e-5  # of the largest score: far more than the rounding of an interpolation, far less than what matters


@dataclass(frozen=True)
class Reported:
    """The reported images of a task, whatever it predicts from.

    Attributes:
        ids: (N,) Arrow strings.
        masks: of all images of the split.
        rows: (N,) int64 the place of each image in `masks`.
        kept: (N,) bool: the images whose predicted map is stored.
        classes: C.
        workers: decoding processes.
        progress: of the run.
    """

    ids: pa.Array
    masks: MaskReader
    rows: np.ndarray
    kept: np.ndarray
    classes: int
    workers: int | None
    progress: Callable[[int, int, str], None]

    @classmethod
    def of(cls, inputs: DenseInputs | ImageInputs) -> Reported:
        """Those of a task's inputs."""
        split = inputs.test
        assert split.masks is not None
        rows = np.arange(len(split)) if isinstance(inputs, ImageInputs) else inputs.test.rows
        kept = np.zeros(len(split), bool)
        kept[digest_order(split.ids)[:KEPT_MAPS]] = True
        return cls(split.ids, split.masks, rows, kept, len(inputs.classes), inputs.workers, inputs.progress)


def contenders(scores: Sequence[Tensor]) -> list[int]:
    """The classes that can be best anywhere once scores (C, h, w) are enlarged bilinearly and added; ascending.

    What lies between pixels is never above the largest of them or below the smallest. So a class drops out where it
    stays below another one's smallest score throughout, with room for rounding, in every part of the image.
    """
    parts = min(each.shape[1] for each in scores), min(each.shape[2] for each in scores)
    high, low = (
        torch.stack([adaptive_max_pool2d(max_pool2d(sign * each, 3, 1, 1), parts) for each in scores]).sum(dim=0) * sign
        for sign in (1, -1)
    )
    slack = _SLACK * torch.stack([each.abs().amax() for each in scores]).sum()
    return (high >= low.amax(dim=0) - slack).flatten(1).any(dim=1).nonzero()[:, 0].tolist()


def best_class(plane: Callable[[int], Tensor], candidates: Sequence[int], size: tuple[int, int]) -> Tensor:
    """(H, W) int64: the class whose plane of scores is largest at each pixel; the lowest class among equals.

    One class at a time, so that memory is a few planes however many classes there are.

    Args:
        plane: class -> (H, W) scores.
        candidates: ascending.
        size: (H, W).
    """
    best = plane(candidates[0])
    found = torch.full(size, candidates[0], dtype=torch.int32, device=best.device)
    for index in candidates[1:]:
        scores = plane(index)
        torch.maximum(found, (scores > best).to(torch.int32).mul_(index), out=found)  # later classes are larger numbers
        torch.maximum(best, scores, out=best)
    return found.long()


def enlarged(scores: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """(H, W) best class of the sum of scores (C, h, w), each enlarged bilinearly; the lowest class among equals."""

    def plane(index: int) -> Tensor:
        whole = at_scale(scores[0][index], size)
        for each in scores[1:]:
            whole += at_scale(each[index], size)
        return whole

    return best_class(plane, contenders(scores), size)


def at_scale(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) of scores (h, w) of one class, enlarged bilinearly."""
    return interpolate(scores[None, None], size, mode="bilinear", align_corners=False)[0, 0]


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


def encoded_map(predicted: Tensor, classes: int) -> bytes:
    """A label map (H, W) as PNG of 8 or 16 bits, by nearest neighbour within 512 pixels a side."""
    values = predicted.cpu().numpy()
    shrink = min(1.0, _MAP_SIDE / max(values.shape))
    size = (max(1, round(values.shape[0] * shrink)), max(1, round(values.shape[1] * shrink)))
    stream = io.BytesIO()
    Image.fromarray(nearest(values, size).astype(np.uint8 if classes <= 256 else np.uint16)).save(stream, format="PNG")
    return stream.getvalue()


def counted(
    reported: Reported,
    variants: Sequence[str],
    predicted: Iterable[Sequence[Found]],
    at_size: Callable[[Found, tuple[int, int]], Tensor],
) -> pa.Table:
    """The table of predictions of the reported split.

    Args:
        reported: the images.
        variants: names of the protocol's settings; the first is the one whose maps are stored.
        predicted: for every reported image, in order, what is predicted per variant.
        at_size: brings it to the size of a mask, as classes (H, W): `enlarged`, `stretched` or `windows.joined`.

    Raises:
        DataError: see `read_masks`.
    """
    total = len(reported.ids)
    rows = np.zeros((len(variants), 3, total, reported.classes), dtype=np.int64)
    maps: list[bytes | None] = [None] * total
    masks = read_masks(reported.masks, reported.rows, None, reported.workers)
    for index, (mask, parts) in enumerate(zip(masks, predicted, strict=True)):
        for place, found in enumerate(parts):
            labels = at_size(found, (mask.shape[0], mask.shape[1]))
            rows[place, :, index] = pixel_counts(labels, mask, reported.classes)
            if place == 0 and reported.kept[index]:
                maps[index] = encoded_map(labels, reported.classes)
        reported.progress(index + 1, total, "reported images")
    tables = []
    for place, (name, (hit, guessed, labelled)) in enumerate(zip(variants, rows, strict=True)):
        kept = maps if place == 0 else None
        tables.append(segmentation_table(reported.ids, hit, guessed, labelled, name, kept))
    return join(tables)
