"""What a trained head is shown, it learns: classes of pixels from the mask to the figure and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.backbones.sources import open_backbone
from benchmark.data.source import open_source
from benchmark.metrics.registry import score
from benchmark.task import ImageInputs
from tasks.segmentation.task import Segmentation


@pytest.mark.slow
def test_images_that_were_learned_by_heart_are_labelled_as_annotated(tmp_path: Path) -> None:
    """A mistake in masks, crops, drawn pixels, rates, windows or labels keeps mIoU from 80."""
    data = open_source("scenes", "scenes:?train=6&test=3&classes=3&size=128&difficulty=0")
    changes = {"size": 96, "short": 128, "long": 256, "iterations": 200}
    protocol = Segmentation.protocols["seg/upernet@tiny"].model_copy(update=changes)
    seen = data.splits["train"]
    inputs = ImageInputs(
        "scenes", seen, seen, data.mask_classes,
        open_backbone("random:resnet10t", preprocess=["size=96"]),
        torch.device("cpu"), tmp_path / "scratch", workers=0,
    )  # fmt: skip
    found = {metric.name: metric.value for metric in score(Segmentation().predict(inputs, protocol, 0).table)}
    assert found["mIoU"] > 80, found
