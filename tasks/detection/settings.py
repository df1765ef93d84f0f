"""What a protocol of detection is made of."""

from __future__ import annotations

from typing import Literal

from benchmark.backbones.backbone import Backbone
from benchmark.protocol import ImageSettings
from tasks.openmmlab.schedule import Schedule

Detector = Literal["fpn", "c4", "retinanet", "vitdet"]

_BY_DEPTH = {12: (0.7, 0.1), 24: (0.8, 0.4), 32: (0.9, 0.5)}
"""Blocks -> layer decay, stochastic depth (detectron2, projects/ViTDet/configs/COCO/mask_rcnn_vitdet_{b,l,h}_*.py)."""


class DetectionSettings(ImageSettings, Schedule):
    """A detector, what it is trained with, and how images are brought to its size.

    Attributes:
        detector: `fpn` is Mask R-CNN on a feature pyramid, `c4` on the third stage of a residual network, `retinanet`,
            `vitdet` Mask R-CNN on a simple pyramid over a plain transformer. Those with a mask head leave it out where
            the data has no masks.
        batch: images per iteration, over all devices.
        train_short, long: the short side is drawn from these, unless the long side would exceed `long`.
        test_short: the short side at test, under the same limit.
        jitter: instead of `train_short`: the image is scaled to fit a square of `size` times a factor drawn from this
            range, and a square of `size` is cropped (large-scale jitter); at test it fits the square.
        frozen: the encoder's weights and statistics stay as they are.
        still_norm: BatchNorm of the encoder keeps the checkpoint's statistics while its weights are trained.
        precise_norm: batches over which statistics of BatchNorm are computed anew after the training (detectron2's
            TEST.PRECISE_BN); 0 keeps the running ones.
        window: of ViTDet's attention, in patches; 0 lets every block see the whole image.
        by_depth: layer decay and stochastic depth of a transformer by the number of its blocks, as ViTDet has them.
        width, regions, proposals: of budgets for a CPU, see `detectors.lighter`; None for the detector's own.
        object_scale: how much smaller images are than those that the detector was made for, see `detectors.rescaled`.
        agnostic: one regressor of boxes and one mask for all classes.
        least_score: of a detection that is kept; a hundred per image are at most.
        figures: `coco` (AP over IoU 0.5 to 0.95), or `voc` (11-point AP).
        learn_difficult: difficult objects are learned like all others (detectron2); else neither found nor missed
            (mmdet).
    """

    detector: Detector
    batch: int = 16
    train_short: tuple[int, ...] = (640, 672, 704, 736, 768, 800)
    long: int = 1333
    test_short: int = 800
    jitter: tuple[float, float] | None = None
    frozen: bool = False
    still_norm: bool = False
    precise_norm: int = 0
    window: int = 14
    by_depth: bool = False
    width: int | None = None
    regions: int | None = None
    proposals: int | None = None
    object_scale: float = 1.0
    agnostic: bool = False
    least_score: float = 0.05
    figures: Literal["coco", "voc"] = "coco"
    learn_difficult: bool = False

    def fitted(self, backbone: Backbone) -> tuple[DetectionSettings, float]:
        """The settings for an encoder, and its stochastic depth.

        A frozen encoder has neither layer decay nor stochastic depth; one of another depth takes ViT-B's.
        """
        if not self.by_depth or self.frozen:
            return self.model_copy(update={"layer_decay": 1.0}) if self.frozen else self, 0.0
        decay, drop = _BY_DEPTH.get(backbone.depth, _BY_DEPTH[12])
        return self.model_copy(update={"layer_decay": decay}), drop
