"""A detector trained on one split and asked about another.

Wants `tasks.openmmlab.ops.provide` to be called before it is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch

from benchmark.backbones.backbone import Backbone
from benchmark.data.annotations import Objects
from benchmark.data.dataset import Split
from benchmark.metrics.detection.codes import encode_masks
from benchmark.metrics.detection.table import Detections, detection_table
from benchmark.task import ImageInputs, Predictions
from tasks.detection.settings import DetectionSettings
from tasks.detection.stream import learnable, test_batches, training_batches
from tasks.detection.views import Views
from tasks.openmmlab import detectors, ops
from tasks.openmmlab.model import build_model
from tasks.openmmlab.precise import recompute_statistics
from tasks.openmmlab.recipes import canvas_of
from tasks.openmmlab.train import train

_POINTS = 50
"""Points of the loss curve."""


def has_masks(split: Split, settings: DetectionSettings) -> bool:
    """Whether the detector has a mask head: it can have one, and the data has masks to learn from."""
    assert split.objects is not None
    return settings.detector != "retinanet" and split.objects.objects(int(learnable(split)[0])).segments is not None


def configuration(backbone: Backbone, settings: DetectionSettings, classes: int, masks: bool) -> dict[str, Any]:
    """The detector as a configuration of mmdet, on an encoder opened for the protocol's size.

    Raises:
        RequestError: an encoder on which this detector cannot stand.
    """
    still: dict[str, Any] = {"frozen": settings.frozen, "still_norm": settings.still_norm}
    _, drop = settings.fitted(backbone)
    if settings.detector == "c4":
        config = detectors.c4(backbone, classes, masks=masks, **still)
    elif settings.detector == "fpn":
        config = detectors.mask_rcnn_fpn(backbone, classes, masks=masks, **still)
    elif settings.detector == "retinanet":
        config = detectors.retinanet(backbone, classes, **still)
    else:
        config = detectors.vitdet(backbone, classes, masks=masks, window=settings.window, **still, drop_path=drop)
    detectors.lighter(config, width=settings.width, regions=settings.regions, proposals=settings.proposals)
    detectors.rescaled(config, settings.object_scale)
    detectors.least_score(config, settings.least_score)
    if settings.agnostic:
        detectors.class_agnostic(config)
    return config


def predict_objects(inputs: ImageInputs, protocol: DetectionSettings, seed: int) -> Predictions:
    """Trains on the training split and predicts the reported one; nothing is selected."""
    backbone, classes = inputs.backbone, len(inputs.classes)
    settings, drop = protocol.fitted(backbone)
    masks = has_masks(inputs.train, settings)
    model = build_model(configuration(backbone, settings, classes, masks), "mmdet", seed).to(inputs.device)
    views = Views(inputs.train, settings, canvas_of(backbone), masks)
    batches = partial(training_batches, views, settings.batch, seed, inputs.workers)
    window = max(1, settings.iterations // _POINTS)
    curve = train(
        model,
        batches,
        settings,
        execution=backbone.execution,
        key=inputs.scratch.name,
        seed=seed,
        snapshot=inputs.scratch / "training.pth",
        every=min(1000, max(50, settings.iterations // 20)),
        window=min(50, window),
        progress=lambda done, loss: inputs.progress(done, settings.iterations, f"iterations, loss {loss:.3f}"),
    )
    if settings.precise_norm:
        recompute_statistics(
            model,
            islice(batches(settings.iterations), settings.precise_norm),
            lambda done: inputs.progress(done, settings.precise_norm, "batches for the statistics"),
        )
    test = Views(inputs.test, settings, canvas_of(backbone), masks)
    table = detection_table(
        inputs.test.ids,
        _annotated(inputs.test),
        _found(model.eval(), test, inputs),
        classes,
        scorer="detection-voc" if settings.figures == "voc" else "detection",
    )
    details = {
        "heads": "boxes and masks" if masks else "boxes",
        "learned_images": len(learnable(inputs.train)),
        "layer_decay": settings.layer_decay,
        "drop_path": drop,
        "operators": ops.provide().description,
        "loss_curve": {"step": [step for step, _ in curve], "loss": [round(loss, 5) for _, loss in curve]},
    }
    return Predictions(table, details=details)


def _annotated(split: Split) -> Iterator[Objects]:
    assert split.objects is not None
    for index in range(len(split)):
        yield split.objects.objects(index)


def _found(model: Any, views: Views, inputs: ImageInputs) -> Iterator[Detections]:
    """What the model finds, image by image, in pixels of the image as it is stored."""
    total = len(views.split)
    for done, batch in enumerate(test_batches(views, inputs.workers)):
        with torch.inference_mode(), inputs.backbone.execution.products():  # never around a yield
            data = model.data_preprocessor(batch, False)
            (sample,) = model.predict(data["inputs"], data["data_samples"], rescale=True)
            found = sample.pred_instances.cpu()
        yield Detections(
            boxes=found.bboxes.numpy(),
            labels=found.labels.numpy(),
            scores=found.scores.numpy(),
            masks=encode_masks(found.masks.numpy()) if views.masks else None,
        )
        inputs.progress(done + 1, total, "reported images")
