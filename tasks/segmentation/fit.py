"""A head of mmseg trained on one split and asked about another.

Wants `tasks.openmmlab.ops.provide` to be called before it is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.encoder import Encoder
from benchmark.task import ImageInputs, Predictions
from tasks.openmmlab import ops, segmentors
from tasks.openmmlab.model import build_model
from tasks.openmmlab.recipes import canvas_of
from tasks.openmmlab.train import train
from tasks.segmentation.crops import Box, padding_colour, training_views
from tasks.segmentation.drawn import learn_from_drawn_pixels
from tasks.segmentation.scoring import Reported, counted
from tasks.segmentation.trained import TrainedSettings
from tasks.segmentation.windows import Windowed, cut, joined, placed, scaled_images

_POINTS = 50
"""Points of the loss curve."""
_PUBLISHED = {12: (3, 5, 7, 11), 24: (7, 11, 15, 23)}
"""Depth of a plain transformer -> the layers that BEiT's and MAE's UPerNet stands on."""


def is_plain(backbone: Backbone) -> bool:
    """Whether all maps of an encoder are of one size, as a plain transformer's."""
    return len({stage.stride for stage in Encoder(backbone, layers=backbone.depth).stages}) == 1


def four_layers(depth: int) -> tuple[int, ...]:
    """The layers of a plain transformer that UPerNet stands on: the published ones, else the ends of its quarters."""
    return _PUBLISHED.get(depth, tuple(max(0, depth * part // 4 - 1) for part in (1, 2, 3, 4)))


def configuration(backbone: Backbone, settings: TrainedSettings, classes: int) -> dict[str, Any]:
    """The segmentor as a configuration of mmseg.

    Raises:
        RequestError: an encoder on which this head cannot stand.
    """
    still: dict[str, Any] = {"frozen": settings.frozen, "still_norm": settings.still_norm}
    if settings.head == "fcn":
        return segmentors.fcn(backbone, classes, output_stride=settings.output_stride, **still)
    plain = is_plain(backbone)
    fitted = settings.fitted(backbone, plain)
    config = segmentors.upernet(
        backbone,
        classes,
        layers=four_layers(backbone.depth) if plain else None,
        width=settings.width,
        **still,
        drop_path=fitted.drop_path,
    )
    if settings.pixels:
        learn_from_drawn_pixels(config, settings.pixels)
    return config


def predict_trained(inputs: ImageInputs, protocol: TrainedSettings, seed: int) -> Predictions:
    """Trains on the training split and predicts the reported one; nothing is selected."""
    backbone, classes = inputs.backbone, len(inputs.classes)
    settings = protocol.fitted(backbone, is_plain(backbone))
    model = build_model(configuration(backbone, settings, classes), "mmseg", seed).to(inputs.device)
    curve = train(
        model,
        partial(_batches, inputs, settings, seed),
        settings,
        execution=backbone.execution,
        key=inputs.scratch.name,
        seed=seed,
        snapshot=inputs.scratch / "training.pth",
        every=min(1000, max(50, settings.iterations // 20)),
        window=max(1, min(50, settings.iterations // _POINTS)),
        progress=lambda done, loss: inputs.progress(done, settings.iterations, f"iterations, loss {loss:.3f}"),
    )
    table = counted(Reported.of(inputs), [""], _windowed(model.eval(), inputs, settings), joined)
    details = {
        "learned_images": len(inputs.train),
        "crop": backbone.preprocessing.size[0],
        "layer_decay": settings.layer_decay,
        "drop_path": settings.drop_path,
        "operators": ops.provide().description,
        "loss_curve": {"step": [step for step, _ in curve], "loss": [round(loss, 5) for _, loss in curve]},
    }
    return Predictions(table, details=details)


def _batches(inputs: ImageInputs, settings: TrainedSettings, seed: int, iteration: int) -> Iterator[dict[str, Any]]:
    """Views from an iteration on, as mmseg's models take them."""
    views = training_views(
        inputs.train,
        settings,
        inputs.backbone.preprocessing,
        seed,
        first=iteration * settings.batch,
        workers=inputs.workers,
        pin=inputs.device.type == "cuda",
    )
    for images, masks in views:
        samples = []
        for mask in masks.long():
            sample = SegDataSample(metainfo={"img_shape": tuple(mask.shape), "ori_shape": tuple(mask.shape)})
            sample.gt_sem_seg = PixelData(data=mask[None])
            samples.append(sample)
        yield {"inputs": list(images), "data_samples": samples}


def _windowed(model: Any, inputs: ImageInputs, settings: TrainedSettings) -> Iterator[list[Windowed]]:
    preprocessing = inputs.backbone.preprocessing
    fill = padding_colour(preprocessing)
    whole = settings.whole and canvas_of(inputs.backbone) is None
    for image in scaled_images(inputs.test, settings.short, settings.long, inputs.workers):
        size = (image.shape[1], image.shape[2])
        boxes = (Box(0, 0, *size),) if whole else placed(size, preprocessing.size[0])
        with torch.inference_mode(), inputs.backbone.execution.products():  # never around a yield
            scores = [_scores(model, part) for part in cut(image, boxes, fill).split(settings.batch)]
        yield [Windowed([torch.cat(scores)], boxes, size)]


def _scores(model: Any, pixels: Tensor) -> Tensor:
    """(n, C, h, w) scores of pixels (n, 3, S, S), as fine as the head gives them."""
    data = model.data_preprocessor({"inputs": list(pixels)}, False)
    scores: Tensor = model.decode_head(model.extract_feat(data["inputs"]))
    return scores
