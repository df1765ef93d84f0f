"""Extraction from JPEG files against decoding alone and the forward pass alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.execution import plan_execution
from benchmark.backbones.sources import open_backbone
from benchmark.data.dataset import Split
from benchmark.data.source import open_source
from benchmark.features.extract import extract
from benchmark.features.loader import batches
from benchmark.features.store import FeatureStore
from tests.perf.photos import photo_folder
from tests.perf.registry import Row, Setting, benchmark, seconds

BATCH = 64
ARCH = "random:vit_small_patch16_224"


def measure_extraction(setting: Setting, count: int) -> tuple[Backbone, Split, float]:
    """The backbone, the split and the seconds of extracting it into an empty store."""
    backbone = open_backbone(ARCH, execution=plan_execution(setting.device))
    split = open_source("photos", f"folder:{photo_folder(count)}").splits["train"]
    backbone.encode(torch.zeros(BATCH, 3, 224, 224, dtype=torch.uint8), ["cls"], layers=0)  # set-up is nobody's time
    with tempfile.TemporaryDirectory() as cache:
        store = FeatureStore(Path(cache))
        took, _ = seconds(lambda: extract(backbone, split, ["cls"], store, batch_size=BATCH), setting)
    return backbone, split, took


@benchmark("extraction")
def extraction(setting: Setting) -> Iterator[Row]:
    """Ours is the whole of it: decode, resize, encode, store; the peer is the slower half alone."""
    cuda = setting.device.type == "cuda"
    count = (64 if setting.quick else 512) * (32 if cuda else 1)
    backbone, split, ours = measure_extraction(setting, count)

    def decode() -> None:
        stream = batches(split.reader, backbone.preprocessing, range(count), batch_size=BATCH, workers=None, pin=cuda)
        for _ in stream:
            pass

    images = torch.randint(0, 256, (BATCH, 3, 224, 224), dtype=torch.uint8)
    images = images.pin_memory() if cuda else images

    def forward() -> None:
        for _ in range(count // BATCH):
            backbone.encode(images, ["cls"], layers=0)

    decoding, _ = seconds(decode, setting)
    encoding, _ = seconds(forward, setting)
    yield Row.at_most(
        "extraction / slower of decode and forward, ViT-S from JPEG",
        ours,
        max(decoding, encoding),
        1.10,
        images=count,
        decode_images_per_s=count / decoding,
        forward_images_per_s=count / encoding,
        ours_images_per_s=count / ours,
    )
