"""Training views of images and their masks: resized, cropped, mirrored, distorted in colour, padded.

What mmsegmentation's pipeline of ADE20K draws (`RandomResize`, `RandomCrop`, `RandomFlip`, `PhotoMetricDistortion`,
`SegDataPreProcessor`'s padding), which DINOv2's evaluation trains on; the trained heads learn from the same views. View
number s of a training depends on the seed and s alone, so a training that goes on after a stop sees what it would have.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.annotations import IGNORE, MaskReader
from benchmark.data.dataset import ImageReader, Split
from benchmark.errors import DataError
from benchmark.features.workers import decoded, default_workers
from benchmark.protocol import ImageSettings
from tasks.segmentation.colours import Distortion, distorted, drawn_distortion

Pixels = NDArray[np.uint8]
_TRIES = 10  # crops drawn until one is mixed enough, as in mmsegmentation


class ViewSettings(ImageSettings):
    """How views are drawn, and to which scale reported images are brought.

    Attributes:
        size: side of crops and windows in pixels; whole cells of the encoder's map.
        short, long: before anything else, images are brought to a short side of `short`, or to a long one of `long`
            where that is less.
        ratios: for training, both are multiplied by a number drawn uniformly from this range.
        cat_max_ratio: a crop is drawn again, ten times at most, while one class has this share of its labelled pixels.
        flip: how often a view is mirrored.
        photometric: whether colours are distorted.
        hue: the most that hue is turned then, in steps of 2 degrees.
        batch: views per step.
    """

    size: int = 512
    short: int = 512
    long: int = 2048
    ratios: tuple[float, float] = (0.5, 2.0)
    cat_max_ratio: float = 0.75
    flip: float = 0.5
    photometric: bool = True
    hue: int = 18
    batch: int = 16


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


def scaled(height: int, width: int, short: int, long: int) -> tuple[int, int]:
    """(h, w) of an image brought to the largest size within two sides, aspect kept (mmcv's `rescale_size`)."""
    factor = min(long / max(height, width), short / min(height, width))
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def resized(image: Pixels, size: tuple[int, int], box: Box | None = None) -> Pixels:
    """Bilinear without antialiasing, as OpenCV resizes by default; only what of it lies in a box is computed.

    Args:
        image: (H, W, 3).
        size: (h, w) of the whole image afterwards.
        box: within that; None for all of it.
    """
    part = box or Box(0, 0, *size)
    (y0, y1, down), (x0, x1, right) = (
        _neighbours(old, new, start, count)
        for old, new, start, count in (
            (image.shape[0], size[0], part.top, part.height),
            (image.shape[1], size[1], part.left, part.width),
        )
    )
    first = int(x0.min())
    columns = image[:, first : int(x1.max()) + 1]
    upper, lower = columns[y0].astype(np.float32), columns[y1].astype(np.float32)
    rows = upper + (lower - upper) * down[:, None, None]
    near, far = rows[:, x0 - first], rows[:, x1 - first]
    return (near + (far - near) * right[:, None] + 0.5).astype(np.uint8)


def _neighbours(old: int, new: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray, NDArray[np.float32]]:
    """The two old pixels around the centre of each new one, and how near it is to the second."""
    at = np.clip((np.arange(start, start + count) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.floor(at).astype(np.int64)
    return low, np.minimum(low + 1, old - 1), (at - low).astype(np.float32)


def picked(mask: NDArray[np.uint16], size: tuple[int, int], box: Box | None = None) -> NDArray[np.uint16]:
    """As `resized`, by OpenCV's nearest neighbour: the old pixel that holds the upper left corner of the new one."""
    part = box or Box(0, 0, *size)
    rows = (np.arange(part.top, part.top + part.height) * mask.shape[0]) // size[0]
    columns = (np.arange(part.left, part.left + part.width) * mask.shape[1]) // size[1]
    return mask[rows[:, None], columns]


def drawn_box(
    mask: NDArray[np.uint16], size: tuple[int, int], side: int, cat_max_ratio: float, draws: np.random.Generator
) -> Box:
    """Where to crop a square of `side` pixels, or as much of it as there is, out of the image at `size`."""
    height, width = min(side, size[0]), min(side, size[1])
    for _ in range(_TRIES + 1):
        top, left = (int(draws.integers(whole - kept + 1)) for whole, kept in zip(size, (height, width), strict=True))
        box = Box(top, left, height, width)
        if cat_max_ratio >= 1 or _mixed(picked(mask, size, box), cat_max_ratio):
            break
    return box


def _mixed(mask: NDArray[np.uint16], cat_max_ratio: float) -> bool:
    counts = np.bincount(mask.ravel())[:IGNORE]
    return int((counts > 0).sum()) > 1 and bool(counts.max() / counts.sum() < cat_max_ratio)


@dataclass(frozen=True)
class Draw:
    """What is random about a view.

    Attributes:
        size: (h, w) of the whole image after the resize.
        box: the crop within it.
        mirrored: left and right are exchanged.
        distortion: of colours; None for none.
    """

    size: tuple[int, int]
    box: Box
    mirrored: bool
    distortion: Distortion | None


def drawn_view(mask: NDArray[np.uint16], settings: ViewSettings, side: int, draws: np.random.Generator) -> Draw:
    """Draws a view of an image by its mask (H, W)."""
    low, high = settings.ratios
    ratio = low + (high - low) * draws.random()
    size = scaled(mask.shape[0], mask.shape[1], int(settings.short * ratio), int(settings.long * ratio))
    box = drawn_box(mask, size, side, settings.cat_max_ratio, draws)
    mirrored = bool(draws.random() < settings.flip)
    return Draw(size, box, mirrored, drawn_distortion(draws, settings.hue) if settings.photometric else None)


def view(
    image: Pixels, mask: NDArray[np.uint16], draw: Draw, side: int, fill: tuple[int, int, int]
) -> tuple[Pixels, NDArray[np.int32]]:
    """A view: (3, side, side) RGB and (side, side) classes or `IGNORE`.

    Args:
        image: (H, W, 3) RGB.
        mask: (H, W) classes or `IGNORE`.
        draw: what was drawn.
        side: of the view; what is missing is padded to the right and below.
        fill: the colour of padding, the mean that the encoder subtracts: padding is then nothing, as where images are
            padded after normalisation.
    """
    seen, labels = resized(image, draw.size, draw.box), picked(mask, draw.size, draw.box)
    if draw.mirrored:
        seen, labels = seen[:, ::-1], labels[:, ::-1]
    if draw.distortion is not None:
        seen = distorted(seen, draw.distortion)
    pixels = np.empty((3, side, side), np.uint8)
    pixels[:] = np.array(fill, np.uint8)[:, None, None]
    classes = np.full((side, side), IGNORE, np.int32)
    pixels[:, : seen.shape[0], : seen.shape[1]] = seen.transpose(2, 0, 1)
    classes[: seen.shape[0], : seen.shape[1]] = labels
    return pixels, classes


def padding_colour(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """The mean that an encoder subtracts, as RGB of 0 to 255."""
    red, green, blue = (
        min(255, max(0, round(value * 255 / preprocessing.value_range))) for value in preprocessing.mean
    )
    return (red, green, blue) if preprocessing.channel_order == "rgb" else (blue, green, red)


@lru_cache(maxsize=4)
def _order(images: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(images)


def image_of(sample: int, images: int, seed: int) -> int:
    """The image that view number `sample` shows: every epoch is another order of all images."""
    return int(_order(images, seed, sample // images)[sample % images])


@dataclass(frozen=True)
class _Views(TorchDataset[tuple[Pixels, NDArray[np.int32]] | DataError]):
    """What a worker does."""

    reader: ImageReader
    masks: MaskReader
    settings: ViewSettings
    side: int
    fill: tuple[int, int, int]
    seed: int

    def __getitem__(self, sample: int) -> tuple[Pixels, NDArray[np.int32]] | DataError:
        index = image_of(sample, len(self.reader), self.seed)
        try:
            image, mask = np.asarray(self.reader.read(index)), self.masks.mask(index)
        except DataError as error:
            return error  # an exception of three arguments does not survive the way out of a worker
        draws = np.random.default_rng((self.seed, 1, sample))
        return view(image, mask, drawn_view(mask, self.settings, self.side, draws), self.side, self.fill)


def _together(items: list[tuple[Pixels, NDArray[np.int32]] | DataError]) -> tuple[Tensor, Tensor] | DataError:
    good = []
    for item in items:
        if isinstance(item, DataError):
            return item
        good.append(item)
    images, masks = zip(*good, strict=True)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks))


def training_views(
    split: Split,
    settings: ViewSettings,
    preprocessing: Preprocessing,
    seed: int,
    first: int = 0,
    workers: int | None = None,
    pin: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of views without end, decoded in worker processes.

    Args:
        split: images with masks.
        settings: of the views.
        preprocessing: of the encoder, opened for the protocol's size: the side of the views, the colour of padding.
        seed: of everything random.
        first: the number of the first view.
        workers: decoding processes; None for one per core.
        pin: for copies to a GPU.

    Yields:
        (B, 3, S, S) uint8 RGB and (B, S, S) int32 classes or `IGNORE`.

    Raises:
        DataError: an image or a mask that cannot be read.
    """
    assert split.masks is not None
    count = default_workers() if workers is None else workers
    views = _Views(split.reader, split.masks, settings, preprocessing.size[0], padding_colour(preprocessing), seed)
    arriving = decoded(
        views,
        count,
        batch_size=settings.batch,
        sampler=_From(first),
        collate_fn=_together,
        pin_memory=pin,
        prefetch_factor=2 if count else None,
        generator=torch.Generator(),  # else starting workers would draw from the numbers of whoever trains
    )
    for found in arriving:
        if isinstance(found, DataError):
            raise found
        yield found


@dataclass(frozen=True)
class _From:
    """Numbers from one on, without end."""

    first: int

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)
