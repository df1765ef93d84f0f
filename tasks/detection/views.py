"""An image with its objects as a detector sees it: mmdet's own operations, drawn from a seed and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet.datasets.transforms import FilterAnnotations, PackDetInputs, RandomCrop, RandomFlip, Resize
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.runner import set_random_seed

from benchmark.data.annotations import Objects
from benchmark.data.dataset import Split
from benchmark.data.runlength import from_run_lengths
from benchmark.errors import DataError
from tasks.detection.settings import DetectionSettings

_FACTS = ("img_shape", "ori_shape", "scale_factor", "flip", "flip_direction")
_SMALLEST = (1e-2, 1e-2)  # pixels that a box keeps in a crop, at least (mmdet, projects/ViTDet)


class Views:
    """Images of a split.

    Args:
        split: with objects.
        settings: the protocol's.
        side: of the square canvas that an encoder of one size wants; None where it takes any.
        masks: with the masks of the objects.
    """

    def __init__(self, split: Split, settings: DetectionSettings, side: int | None, masks: bool) -> None:
        self.split, self.settings, self.side, self.masks = split, settings, side, masks

    def training(self, index: int, draw: int) -> dict[str, Any]:
        """An image to learn from: `inputs` (3, h, w) uint8 RGB and `data_samples`.

        Args:
            index: of the image.
            draw: seeds everything random.

        Raises:
            DataError: an image or annotation that cannot be read.
        """
        settings = self.settings
        results = self._read(index)
        objects = self._objects(index, (results["img"].shape[0], results["img"].shape[1]))
        results |= self._targets(objects)
        rng = np.random.default_rng(draw)
        if settings.jitter is None:
            results = self._resized(results, int(rng.choice(settings.train_short)))
        else:
            side = self.side or settings.size
            reach = round(side * rng.uniform(*settings.jitter))
            results = Resize(scale=(reach, reach), keep_ratio=True)(results)
            set_random_seed(int(rng.integers(2**32)))  # mmdet's crop draws from the process's generator
            crop = RandomCrop((side, side), "absolute", allow_negative_crop=True, recompute_bbox=self.masks)
            results = crop(results)
            # An image whose objects were all cut away is one without any, not one to be drawn again.
            results = FilterAnnotations(_SMALLEST, keep_empty=False)(results)
        if rng.random() < 0.5:
            results = RandomFlip(prob=1.0)(results)
        packed: dict[str, Any] = PackDetInputs(meta_keys=_FACTS)(results)
        return packed

    def test(self, index: int) -> dict[str, Any]:
        """An image to predict, without its objects."""
        settings = self.settings
        if settings.jitter is None:
            results = self._resized(self._read(index), settings.test_short)
        else:
            side = self.side or settings.size
            results = Resize(scale=(side, side), keep_ratio=True)(self._read(index))
        packed: dict[str, Any] = PackDetInputs(meta_keys=_FACTS)(results)
        return packed

    def _resized(self, results: dict[str, Any], short: int) -> dict[str, Any]:
        long = self.settings.long if self.side is None else min(self.settings.long, self.side)
        found: dict[str, Any] = Resize(scale=(max(long, short), min(long, short)), keep_ratio=True)(results)
        return found

    def _read(self, index: int) -> dict[str, Any]:
        image = np.ascontiguousarray(self.split.reader.read(index))
        size = image.shape[:2]
        return {"img": image, "img_shape": size, "ori_shape": size, "flip": False, "flip_direction": None}

    def _objects(self, index: int, size: tuple[int, int]) -> Objects:
        assert self.split.objects is not None
        objects = self.split.objects.objects(index)
        if objects.size != size:
            raise DataError(
                f"an image of {objects.size[1]} x {objects.size[0]}, as annotated",
                f"{size[1]} x {size[0]} in {self.split.ids[index].as_py()}",
                "correct the annotation",
            )
        return objects

    def _targets(self, objects: Objects) -> dict[str, Any]:
        """What there is to learn, in mmdet's words: a crowd teaches nothing, and is no background either."""
        ignored = objects.crowd if self.settings.learn_difficult else objects.crowd | objects.difficult
        targets: dict[str, Any] = {
            "gt_bboxes": HorizontalBoxes(torch.from_numpy(objects.boxes.astype(np.float32))),
            "gt_bboxes_labels": objects.labels.astype(np.int64),
            "gt_ignore_flags": ignored.copy(),
        }
        if self.masks:
            drawn = [from_run_lengths(runs, objects.size).astype(np.uint8) for runs in objects.segments or ()]
            targets["gt_masks"] = BitmapMasks(drawn, *objects.size)
        return targets


def draw_of(seed: int, sample: int) -> int:
    """A seed for the view of the `sample`-th image of a training; other seeds and samples draw other views."""
    return int(np.random.SeedSequence([seed, sample]).generate_state(1, np.uint64)[0])
