"""Small images of coloured stripes with a small random encoder: what a part of the robustness task is handed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.data.dataset import Split
from benchmark.task import ImageInputs, Inputs, ShiftInputs, SplitFeatures

CLASSES = ("red", "green", "blue")


@dataclass(frozen=True)
class Pictures:
    """Images in memory: uint8 (N, 3, H, W)."""

    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(self.pixels[index].transpose(1, 2, 0)))


@cache
def encoder(size: int = 32) -> Backbone:
    return open_backbone("random:test_resnet", preprocess=[f"size={size}", "crop_pct=1"])


def striped(rng: np.random.Generator, name: str, count: int, size: int) -> Split:
    """Each class has stripes of its own direction, and a tint of its own that half of the images lack."""
    targets = rng.permutation(np.arange(count) % len(CLASSES))
    rows, columns = np.mgrid[:size, :size]
    pixels = rng.normal(90, 25, (count, 3, size, size))
    for index, label in enumerate(targets):
        wave = (rows * np.cos(label) + columns * np.sin(label)) * (0.6 + 0.4 * rng.random())
        pixels[index] += 40 * np.sin(wave + rng.random() * 6)
        pixels[index, label] += 60 * (rng.random() < 0.5)
    shown = pixels.clip(0, 255).astype(np.uint8)
    ids = pa.array([f"{name}/{index:03d}" for index in range(count)])
    return Split(name, ids, targets.astype(np.int64), Pictures(shown), name, name)


def features_of(backbone: Backbone, split: Split) -> SplitFeatures:
    assert isinstance(split.reader, Pictures)
    found = backbone.encode(torch.from_numpy(split.reader.pixels), layers=0)
    return SplitFeatures(found.global_(backbone.default_representation), torch.from_numpy(split.targets), split.ids)


def shift_inputs(
    size: int = 32, train: int = 60, test: int = 24, val: int = 0, batch_size: int = 7, seed: int = 0
) -> ShiftInputs:
    """Train, test and, where asked for, val."""
    rng, backbone = np.random.default_rng(seed), encoder(size)
    splits = {name: striped(rng, name, count, size) for name, count in (("train", train), ("test", test), ("val", val))}
    features = {name: features_of(backbone, split) if len(split) else None for name, split in splits.items()}
    assert features["train"] is not None and features["test"] is not None
    inputs = Inputs(
        dataset="stripes",
        train=features["train"],
        test=features["test"],
        val=features["val"],
        classes=CLASSES,
        device=torch.device("cpu"),
        representation=backbone.default_representation,
    )
    images = ImageInputs(
        dataset="stripes",
        train=splits["train"],
        test=splits["test"],
        val=splits["val"] if val else None,
        classes=CLASSES,
        backbone=backbone,
        device=torch.device("cpu"),
        scratch=Path("nowhere"),
        batch_size=batch_size,
        workers=0,
    )
    return ShiftInputs(inputs, images)


def pixels_of_test(inputs: ShiftInputs) -> torch.Tensor:
    reader = inputs.images.test.reader
    assert isinstance(reader, Pictures)
    return torch.from_numpy(reader.pixels)


def judged_alone(inputs: ShiftInputs, images: Sequence[torch.Tensor], judge) -> np.ndarray:
    """(N,) the best class of each image, encoded one by one."""
    backbone = inputs.images.backbone
    return np.array([int(judge.of_images(backbone, image[None]).argmax()) for image in images])
