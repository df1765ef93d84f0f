"""k nearest neighbours of patches, as facebookresearch/capi evaluates them (`eval_segmentation.py`).

A patch carries the classes of all of its pixels. The neighbours of a patch vote for each pixel on its own: the
pixel in the same place of each neighbour has one vote, and the lowest class wins among equals. Patches are standardised
by the statistics of train, those in which most pixels have no class are left out, and k and the distance are chosen by
mIoU on a tenth of the training images. Where capi scores squashed masks, this scores them as they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import DataError, NotApplicable
from benchmark.features.maps import PatchMaps
from benchmark.protocol import DenseSettings
from benchmark.task import DenseInputs, Predictions
from tasks.segmentation.labels import Squares, squares_of
from tasks.segmentation.scoring import Reported, counted, pixel_counts, stretched
from tasks.solvers.neighbours import Metric, in_order, search

_TRAIN_NUMBERS = 2**27  # numbers of standardised training patches held at once: 0.5 GB
_VOTES = 2**25  # votes counted at once
_IMAGES = 16  # maps read at once


class NeighbourSettings(DenseSettings):
    """How neighbours are found.

    Attributes:
        ks: numbers of neighbours to choose from.
        distances: to choose from, both on standardised patches: `cosine`, `l2`.
        held_out: the share of the training images on which k and distance are chosen.
    """

    ks: tuple[int, ...] = (1, 3, 10, 30)
    distances: tuple[Metric, ...] = ("cosine", "l2")
    held_out: float = 0.1


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of every channel, (D,) float64; a constant channel is only centred."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, maps: PatchMaps, rows: Sequence[int]) -> Scaler:
        """Over all patches of the images at `rows`, image by image (Chan et al. 1979)."""
        count, mean, squares = 0, torch.zeros(maps.shape[0]).double(), torch.zeros(maps.shape[0]).double()
        for start in range(0, len(rows), _IMAGES):
            part = tokens(maps, rows[start : start + _IMAGES]).double()
            here = part.mean(dim=0)
            shift, both = here - mean, count + len(part)
            squares += (part - here).square().sum(dim=0) + shift.square() * (count * len(part) / both)
            mean += shift * (len(part) / both)
            count = both
        deviation = (squares / count).sqrt()
        # scikit-learn's StandardScaler leaves the scale of a constant feature alone, by the same tolerance
        constant = (
            deviation.square()
            <= count * torch.finfo(torch.float64).eps * deviation.square()
            + (count * mean * torch.finfo(torch.float64).eps).square()
        )
        return cls(mean, torch.where(constant, torch.ones_like(deviation), deviation))

    def __call__(self, part: Tensor) -> Tensor:
        """(T, D) float32 of (T, D) patches."""
        return ((part.double() - self.mean) / self.scale).float()


def tokens(maps: PatchMaps, rows: Sequence[int]) -> Tensor:
    """(B h w, D) patches of the images at `rows`, image by image, row by row."""
    return maps.read(rows).flatten(2).transpose(1, 2).flatten(0, 1)


def patch_labels(squares: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B h w, l) classes of the pixels of each patch, (B, H, W) masks cut into a grid of (h, w); row by row.

    Raises:
        NotApplicable: the grid does not divide the masks.
    """
    height, width = squares.shape[-2:]
    if height % grid[0] or width % grid[1]:
        found = f"a grid of {grid[0]} x {grid[1]} on {height} x {width} pixels"
        raise NotApplicable("patches of whole pixels", found, "set another size")
    cut = squares.unflatten(1, (grid[0], -1)).unflatten(3, (grid[1], -1))
    return cut.permute(0, 1, 3, 2, 4).flatten(0, 2).flatten(1)


def joined_patches(labels: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(B, H, W): the way back of `patch_labels`."""
    side = (size[0] // grid[0], size[1] // grid[1])
    return labels.unflatten(0, (-1, *grid)).unflatten(3, side).permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)


def settled(labels: Tensor, ignore: int, classes: int) -> tuple[Tensor, Tensor]:
    """Which patches take part, and their pixels with every gap filled.

    A patch stays unless most of its pixels have no class; what is without one in a patch that stays becomes its most
    frequent class (capi lets such pixels vote for "no class", which is then counted as a wrong prediction).

    Args:
        labels: (T, l) classes or `ignore`.
        ignore: the value of pixels without a class.
        classes: C.

    Returns:
        (T,) bool, and (T', l) labels of those that stay.
    """
    keep, filled = [], []
    for part in labels.split(max(1, _VOTES // max(1, labels.shape[1]))):
        lost = part == ignore
        counts = torch.zeros(len(part), classes + 1, dtype=torch.int32)
        counts.scatter_add_(1, torch.where(lost, classes, part.long()), torch.ones_like(part, dtype=torch.int32))
        usual = counts[:, :classes].argmax(dim=1, keepdim=True)
        # among equals the class goes before the gap, as the lowest number does
        stays = counts[:, :classes].amax(dim=1) >= counts[:, classes].clamp_min(1)
        keep.append(stays)
        filled.append(torch.where(lost, usual.to(part.dtype), part)[stays])
    return torch.cat(keep), torch.cat(filled)


@dataclass(frozen=True)
class Memory:
    """The training patches that vote.

    Attributes:
        maps: of the training images.
        rows: (n,) the images.
        keep: (n h w,) bool: the patches of them that take part.
        labels: (T, l) classes of the pixels of these.
        scaler: of all patches of these images.
        classes: C.
    """

    maps: PatchMaps
    rows: np.ndarray
    keep: Tensor
    labels: Tensor
    scaler: Scaler
    classes: int

    @classmethod
    def of(cls, maps: PatchMaps, masks: Squares, rows: np.ndarray) -> Memory:
        """The patches of the images at `rows`.

        Raises:
            DataError: none of them has labelled pixels enough.
        """
        keep, labels = settled(patch_labels(masks.values[rows], maps.shape[1:]), masks.ignore, masks.classes)
        if not len(labels):
            raise DataError("labelled patches in train", "none", "check labels= and ignore=")
        return cls(maps, rows, keep, labels, Scaler.of(maps, rows.tolist()), masks.classes)

    def chunks(self) -> Iterator[Tensor]:
        """(t, D) standardised patches, all T in order, as many at once as memory should hold."""
        depth, height, width = self.maps.shape
        images = max(1, _TRAIN_NUMBERS // (depth * height * width))
        for start in range(0, len(self.rows), images):
            rows = self.rows[start : start + images].tolist()
            stay = self.keep[start * height * width : (start + len(rows)) * height * width]
            parts = [tokens(self.maps, rows[at : at + _IMAGES]) for at in range(0, len(rows), _IMAGES)]
            yield self.scaler(torch.cat(parts)[stay])

    def neighbours(self, queries: PatchMaps, rows: np.ndarray, k: int, metric: Metric, inputs: DenseInputs) -> Tensor:
        """(n h w, k') the nearest training patches of every patch of the images at `rows`, k' = min(k, T)."""
        k = min(k, len(self.labels))
        best: Tensor | None = None
        found = torch.empty(0)
        before = 0
        for number, chunk in enumerate(self.chunks()):
            chunk = chunk.to(inputs.device)
            values, places = [], []
            for start in range(0, len(rows), _IMAGES):
                asked = self.scaler(tokens(queries, rows[start : start + _IMAGES].tolist())).to(inputs.device)
                near = search(chunk, asked, min(k, len(chunk)), metric)
                values.append(near[0].cpu())
                places.append(near[1].cpu() + before)
                inputs.progress(start + len(asked), len(rows), f"neighbours, part {number + 1}")
            here = torch.cat(values), torch.cat(places)
            if best is not None:
                here = torch.cat([found, here[0]], dim=1), torch.cat([best, here[1]], dim=1)
            found, best = (part[:, :k] for part in in_order(*here, ascending=metric == "l2"))
            before += len(chunk)
        assert best is not None
        return best

    def votes(self, near: Tensor, ks: Sequence[int]) -> list[Tensor]:
        """(Q, l) classes that the first k of the neighbours (Q, K) choose for every pixel, for each of `ks`."""
        pixels = self.labels.shape[1]
        step = max(1, _VOTES // (pixels * max(near.shape[1], self.classes)))
        chosen: dict[int, list[Tensor]] = {k: [] for k in ks}
        for part in near.split(step):
            labels = self.labels[part].long()  # (q, K, l)
            present = torch.bincount(labels.flatten(), minlength=self.classes).nonzero()[:, 0]
            place = torch.empty(self.classes, dtype=torch.int64)
            place[present] = torch.arange(len(present))
            labels = place[labels].transpose(1, 2).contiguous()  # several times faster along the last axis
            counts = torch.zeros(len(part), pixels, len(present), dtype=torch.int16)
            before = 0
            for k in sorted(chosen):
                new = labels[:, :, before:k]
                counts.scatter_add_(2, new, torch.ones_like(new, dtype=torch.int16))
                before = k
                chosen[k].append(present[counts.argmax(dim=2)].to(self.labels.dtype))
        return [torch.cat(chosen[k]) for k in ks]


def predict_neighbours(inputs: DenseInputs, protocol: NeighbourSettings, seed: int) -> Predictions:
    """Chooses k and distance on held-out training images and predicts the reported split with all of train.

    Raises:
        NotApplicable: too few training images to hold one out.
    """
    (maps,), (asked,) = inputs.train.maps, inputs.test.maps
    masks = squares_of(inputs.train, inputs.size, len(inputs.classes), inputs.workers, inputs.progress)
    drawn = np.random.default_rng(seed).permutation(len(masks))
    val, fit = np.split(drawn, [round(len(masks) * protocol.held_out)])
    if not len(val) or not len(fit):
        raise NotApplicable(f"enough training images to hold out {protocol.held_out:.0%}", f"{len(masks)}", "use more")
    memory = Memory.of(maps, masks, np.sort(fit))
    curve: dict[tuple[Metric, int], float] = {}
    val = np.sort(val)
    for distance in protocol.distances:
        near = memory.neighbours(maps, val, max(protocol.ks), distance, inputs)
        for k, labels in zip(protocol.ks, memory.votes(near, protocol.ks), strict=True):
            curve[distance, k] = _miou(joined_patches(labels, maps.shape[1:], inputs.size), masks, val)
    chosen, k = max(curve, key=lambda setting: curve[setting])  # the first among equals
    memory = Memory.of(maps, masks, np.arange(len(masks)))
    near = memory.neighbours(asked, np.arange(len(inputs.test)), max(protocol.ks), chosen, inputs)
    ks = [k, *protocol.ks]
    names = ["", *(f"k{each}" for each in protocol.ks)]
    table = counted(Reported.of(inputs), names, _maps(memory, near, ks, inputs), stretched)
    details: dict[str, Any] = {
        "k": k,
        "distance": chosen,
        "curve": [{"distance": d, "k": n, "mIoU": round(score, 4)} for (d, n), score in curve.items()],
        "train_images": len(masks),
        "train_patches": len(memory.labels),
        "input": list(inputs.size),
        "map": list(maps.shape),
    }
    return Predictions(table, f"train-{protocol.held_out:.0%}", len(val), details)


def _maps(memory: Memory, near: Tensor, ks: Sequence[int], inputs: DenseInputs) -> Iterator[list[Tensor]]:
    """A label map per k, image by image."""
    grid = memory.maps.shape[1:]
    for part in near.split(grid[0] * grid[1]):
        labels = dict(zip(ks[1:], memory.votes(part, ks[1:]), strict=True))
        yield [joined_patches(labels[k], grid, inputs.size)[0] for k in ks]


def _miou(predicted: Tensor, masks: Squares, rows: np.ndarray) -> float:
    """The mIoU in percent of (n, H, W) predictions for the squashed masks at `rows`."""
    counts = np.zeros((3, masks.classes), dtype=np.int64)
    for labels, row in zip(predicted, rows.tolist(), strict=True):
        target = masks.values[row].numpy().astype(np.uint16)
        counts += pixel_counts(labels.long(), np.where(target == masks.ignore, np.uint16(65535), target), masks.classes)
    union = counts[1] + counts[2] - counts[0]
    return 100 * float(np.mean(counts[0][union > 0] / union[union > 0])) if union.any() else 0.0
