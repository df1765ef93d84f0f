"""The protocols of detection: the field's, and tiny ones for a laptop, each also with a frozen encoder."""

from __future__ import annotations

from typing import Any

from tasks.detection.settings import DetectionSettings

_SGD: dict[str, Any] = {
    "optimizer": "sgd",
    "lr": 0.02,
    "weight_decay": 1e-4,
    "spare": "norms",  # detectron2's WEIGHT_DECAY_NORM is 0
    "decay": "step",
    "warmup": 1000,
    "warmup_start": 1e-3,
    "size": 1344,  # for encoders of one size: the long side, in whole strides of 32
}
_1X: dict[str, Any] = {"iterations": 90_000, "milestones": (60_000, 80_000)}
_2X: dict[str, Any] = {"iterations": 180_000, "milestones": (120_000, 160_000)}
_TINY: dict[str, Any] = {
    "version": 2,
    "iterations": 400,
    "batch": 2,
    "optimizer": "adamw",
    "lr": 3e-3,
    "encoder_rate": 0.03,
    "weight_decay": 1e-4,
    "decay": "cosine",
    "warmup": 50,
    "clip_norm": 10.0,
    "train_images": 1000,
    "still_norm": True,  # of two images there are no statistics, and those of a folded checkpoint are none at all
    "width": 64,
    "regions": 64,
    "proposals": 200,
    "object_scale": 0.35,  # 224 / 640
    "agnostic": True,
    "least_score": 1e-3,  # scores are low yet, their order is what AP sees
}
"""Of hundreds of images and minutes: fresh heads learn fast, the encoder slowly, and nothing is learned per class that
all classes can share."""


def _protocols() -> dict[str, DetectionSettings]:
    # MoCo's detection/configs (here by way of DenseCL's copy, benchmarks/detection/configs) and detectron2's defaults.
    c4 = {**_SGD, "detector": "c4", "precise_norm": 200}
    fpn = {**_SGD, "detector": "fpn", "precise_norm": 200}
    voc = {
        **c4,
        "iterations": 24_000,
        "milestones": (18_000, 22_000),
        "warmup": 100,
        "train_short": tuple(range(480, 801, 32)),
        "figures": "voc",
        "learn_difficult": True,
    }
    # detectron2, projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py and common/coco_loader_lsj.py
    vitdet: dict[str, Any] = {
        "detector": "vitdet",
        "size": 1024,
        "jitter": (0.1, 2.0),
        "batch": 64,
        "iterations": 184_375,
        "optimizer": "adamw",
        "lr": 1e-4,
        "weight_decay": 0.1,
        "layer_decay": 0.7,
        "by_depth": True,
        "spare": "norms",
        "decay": "step",
        "milestones": (163_889, 177_546),
        "warmup": 250,
        "warmup_start": 1e-3,
    }
    small = {"train_short": (192, 224, 256), "test_short": 224, "long": 384, "size": 384}
    named: dict[str, tuple[dict[str, Any], str]] = {
        "det/coco-maskrcnn-fpn@tiny": (
            {**_TINY, **small, "detector": "fpn"},
            "Mask R-CNN on an FPN, 400 iterations of 2 images at 224 px",
        ),
        "det/vitdet@tiny": (
            {
                **_TINY,
                "detector": "vitdet",
                "size": 224,
                "jitter": (0.5, 1.5),
                "encoder_rate": 0.1,  # and less from block to block
                "layer_decay": 0.7,
            },
            "Mask R-CNN on ViTDet's pyramid, 400 iterations of 2 images at 224 px",
        ),
        "det/coco-retinanet@tiny": (
            {**_TINY, **small, "detector": "retinanet"},
            "RetinaNet on an FPN, 400 iterations of 2 images at 224 px",
        ),
        "det/coco-maskrcnn-fpn-1x": ({**fpn, **_1X}, "Mask R-CNN R50-FPN as since MoCo, 90k iterations"),
        "det/coco-maskrcnn-fpn-2x": ({**fpn, **_2X}, "the same, 180k iterations"),
        "det/coco-maskrcnn-c4-1x": ({**c4, **_1X}, "Mask R-CNN R50-C4 as in MoCo, 90k iterations"),
        "det/coco-retinanet-1x": (
            {**_SGD, **_1X, "detector": "retinanet", "lr": 0.01},
            "RetinaNet R50-FPN, 90k iterations",
        ),
        "det/voc-c4-24k": (voc, "Faster R-CNN R50-C4 as in MoCo, 24k iterations; the field runs 5 seeds"),
        "det/vitdet": (vitdet, "Mask R-CNN on ViTDet's pyramid, large-scale jitter at 1024 px, 184,375 iterations"),
    }
    found = {}
    for name, (settings, summary) in named.items():
        found[name] = DetectionSettings(name=name, summary=summary, **settings)
        family, at, budget = name.partition("@")
        frozen = f"{family}-frozen{at}{budget}"
        found[frozen] = DetectionSettings(
            name=frozen, summary=f"the same on a frozen encoder: {summary}", frozen=True, **settings
        )
    return found


PROTOCOLS = _protocols()
