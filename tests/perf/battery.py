"""The frozen battery on stored features against the extraction that it follows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa
import torch
from torch import Tensor

from benchmark.metrics.registry import get_scorer
from benchmark.runner.registry import load_protocol, load_task
from benchmark.suites.suite import load_suite
from benchmark.task import Inputs, SplitFeatures
from tests.perf.extraction import measure_extraction
from tests.perf.logreg import features
from tests.perf.registry import Row, Setting, benchmark

IMAGES, TRAIN, CLASSES, DIM = 20_000, 16_000, 100, 384
SEPARATION = 1.0  # top-1 near 80%, as a ViT-S has it on 100 classes


def inputs_of(device: torch.device, separation: float) -> Inputs:
    """ViT-S-like features of 16,000 training and 4,000 test images in 100 overlapping classes."""
    data = features(TRAIN, DIM, CLASSES, separation)
    ids = pa.array([f"{index:05d}" for index in range(IMAGES)])

    def part(pair: tuple[Tensor, Tensor], start: int) -> SplitFeatures:
        count = min(len(pair[0]), IMAGES - start)
        return SplitFeatures(pair[0][:count].to(device), pair[1][:count].to(device), ids[start : start + count])

    return Inputs(
        dataset="synthetic",
        train=part(data.train, 0),
        test=part(data.test, TRAIN),
        classes=tuple(f"class{index}" for index in range(CLASSES)),
        device=device,
    )


@benchmark("battery")
def battery(setting: Setting) -> Iterator[Row]:
    """The peer is the extraction of 20,000 images with a ViT-S at the rate measured in the same run."""
    count = (64 if setting.quick else 256) * (32 if setting.device.type == "cuda" else 1)
    _, _, took = measure_extraction(setting, count)
    extraction = took / count * IMAGES
    inputs = inputs_of(setting.device, SEPARATION)
    notes: dict[str, float] = {}
    for entry in load_suite("frozen").tasks:
        task = load_task(entry.task)
        started = time.perf_counter()
        predictions = task.predict(inputs, load_protocol(task, entry.protocol, {}), 0)
        metrics = {metric.name: metric.value for metric in get_scorer(task.scorer)(predictions.table)}
        notes[f"{task.name}_s"] = time.perf_counter() - started
        notes[f"{task.name}_{task.headline}"] = metrics[task.headline]
    ours = sum(value for name, value in notes.items() if name.endswith("_s"))
    notes["measured_on_images"] = count
    yield Row.at_most("frozen battery / extraction, 20,000 images, ViT-S", ours, extraction, 0.10, **notes)
