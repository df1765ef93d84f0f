"""Detectors of the field's protocols: mmdet's own, on an encoder of the harness. What differs from mmdet's is said."""

from __future__ import annotations

from typing import Any

from benchmark.backbones.backbone import Backbone
from benchmark.errors import RequestError
from tasks.openmmlab.adapter import HarnessBackbone
from tasks.openmmlab.pyramid import SCALES
from tasks.openmmlab.recipes import batch_norm, canvas_of, put_under, shipped

_FINEST = 56
"""Pixels up to twice which a region is of the finest level (mmdet's SingleRoIExtractor, FPN's 224 / 4)."""


def c4(
    backbone: Backbone,
    classes: int,
    *,
    masks: bool = False,
    extra_norm: bool = True,
    frozen: bool = False,
    still_norm: bool = False,
) -> dict[str, Any]:
    """Faster or Mask R-CNN on C4 as MoCo fine-tunes it: no frozen stage, BatchNorm trained, a norm behind res5.

    Args:
        backbone: a residual network.
        classes: without the background.
        masks: Mask R-CNN.
        extra_norm: as `HarnessRes5` has it.
        frozen: as `HarnessBackbone` and `HarnessRes5` take it.
        still_norm: likewise.
    """
    config = shipped("mmdet", "mask-rcnn_r50-caffe-c4" if masks else "faster-rcnn_r50-caffe-c4")
    _put_under(config, backbone, "HarnessC4", frozen=frozen, still_norm=still_norm, synchronise=True)
    width, final = _channels(backbone)[-2:]
    config.rpn_head.update(in_channels=width, feat_channels=width)
    head = config.roi_head
    head.shared_head = {
        "type": "HarnessRes5",
        "backbone": backbone,
        "extra_norm": extra_norm,
        "frozen": frozen,
        "still_norm": still_norm,
        "synchronise": True,
    }
    head.bbox_roi_extractor.out_channels = width
    head.bbox_head.update(in_channels=final, num_classes=classes)
    if masks:
        head.mask_head.update(in_channels=final, num_classes=classes)
    return dict(config)


def mask_rcnn_fpn(backbone: Backbone, classes: int, *, masks: bool = True, **options: Any) -> dict[str, Any]:
    """Mask R-CNN (Faster R-CNN without masks) on an FPN, BatchNorm in every new layer, all of it trained.

    The form in which methods are compared since MoCo: a box head of four convolutions and one layer behind them, norms
    in the pyramid and both heads (benchmarks/detection/configs/R_50_FPN_1x.yaml of DenseCL, and InfoMin's).

    Args:
        backbone: a hierarchical network with maps at strides 4, 8, 16 and 32.
        classes: without the background.
        masks: with the mask head.
        options: of `HarnessBackbone`.

    Raises:
        RequestError: other strides.
    """
    config = shipped("mmdet", "mask-rcnn_r50_fpn" if masks else "faster-rcnn_r50_fpn")
    _put_under(config, backbone, synchronise=True, **options)
    config.neck.update(in_channels=_pyramid(backbone), norm_cfg=batch_norm())
    _deep_heads(config, classes, batch_norm(), masks)
    return dict(config)


def retinanet(backbone: Backbone, classes: int, **options: Any) -> dict[str, Any]:
    """RetinaNet on an FPN from stride 8, with BatchNorm in the FPN.

    Args:
        backbone: as for `mask_rcnn_fpn`.
        classes: without the background.
        options: of `HarnessBackbone`.

    Raises:
        RequestError: other strides.
    """
    config = shipped("mmdet", "retinanet_r50_fpn")
    _put_under(config, backbone, synchronise=True, **options)
    config.neck.update(in_channels=_pyramid(backbone), norm_cfg=batch_norm())
    config.bbox_head.num_classes = classes
    return dict(config)


def vitdet(
    backbone: Backbone,
    classes: int,
    *,
    masks: bool = True,
    window: int = 14,
    relative: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Mask R-CNN of ViTDet: the simple pyramid, two convolutions of proposals, heads with LayerNorm.

    detectron2, configs/common/models/mask_rcnn_vitdet.py, on a plain transformer. Patches of another size than 16 make
    a pyramid of other strides (3.5 to 56 for patches of 14), and anchors in proportion.

    Args:
        backbone: opened for the size of the images.
        classes: without the background.
        masks: with the mask head.
        window: the side of the windows, in patches.
        relative: decomposed relative positions.
        options: of `HarnessBackbone`: `drop_path` is 0.1 for ViT-B, 0.4 for ViT-L, 0.5 for ViT-H.

    Raises:
        RequestError: a hierarchical network.
    """
    probe = HarnessBackbone(backbone)
    if len(probe.strides) != 1:
        raise RequestError(
            "a plain transformer, for ViTDet",
            f"{backbone.arch} with strides {_text(probe)}",
            "use a protocol on an FPN for hierarchical networks",
        )
    config = shipped("mmdet", "mask-rcnn_r50_fpn" if masks else "faster-rcnn_r50_fpn")
    _put_under(config, backbone, window=window, relative=relative, **options)
    config.neck = {"type": "SimplePyramid", "in_channels": probe.channels[-1], "out_channels": 256}
    strides = [float(probe.strides[0] / scale) for scale in (*SCALES, SCALES[-1] / 2)]
    config.rpn_head.num_convs = 2
    config.rpn_head.anchor_generator.strides = strides
    for name in ("bbox_roi_extractor", "mask_roi_extractor")[: 1 + masks]:
        config.roi_head[name].featmap_strides = strides[:4]
    _deep_heads(config, classes, {"type": "LayerNorm2d", "eps": 1e-6, "requires_grad": True}, masks)
    return dict(config)


def lighter(config: dict[str, Any], *, width: int | None, regions: int | None, proposals: int | None) -> None:
    """Makes a detector affordable on a CPU, in place: most of the time of a small image goes to regions, not pixels.

    Args:
        config: of any detector; None leaves what it has.
        width: channels of the pyramid and of convolutions in the heads; layers of the box head have four times as many.
        regions: of an image that the heads learn from.
        proposals: of an image that they look at.
    """
    if width is not None and "neck" in config:
        _narrow(config, width)
    if "roi_head" in config and regions is not None:
        config["train_cfg"].rcnn.sampler.num = regions
    if "roi_head" in config and proposals is not None:
        config["train_cfg"].rpn_proposal.max_per_img = proposals
        config["test_cfg"].rpn.max_per_img = proposals


def rescaled(config: dict[str, Any], scale: float) -> None:
    """Fits a detector to images that are smaller than its own by `scale`, in place.

    Anchors, and the sizes at which regions pass from one level of the pyramid to the next, shrink in proportion: else
    most objects of a small image are read off the finest level, which says least of what they are.
    """
    dense = config["rpn_head" if "rpn_head" in config else "bbox_head"].anchor_generator
    if "octave_base_scale" in dense:
        dense.octave_base_scale *= scale
    else:
        dense.scales = [size * scale for size in dense.scales]
    for name in ("bbox_roi_extractor", "mask_roi_extractor"):
        if config.get("roi_head", {}).get(name) is not None:  # C4 has one for both
            config["roi_head"][name].finest_scale = _FINEST * scale


def class_agnostic(config: dict[str, Any]) -> None:
    """Has one regressor of boxes and one mask serve all classes, in place: classes may have few objects to learn from.

    RetinaNet has it so anyway.
    """
    if "roi_head" in config:
        head = config["roi_head"]
        head.bbox_head.reg_class_agnostic = True
        if "mask_head" in head:
            head.mask_head.class_agnostic = True


def least_score(config: dict[str, Any], score: float) -> None:
    """Has detections of this score and more kept, in place, up to the most that an image has."""
    found = config["test_cfg"]
    (found.rcnn if "roi_head" in config else found).score_thr = score


def _narrow(config: dict[str, Any], width: int) -> None:
    config["neck"].update(out_channels=width)
    if "roi_head" not in config:
        config["bbox_head"].update(in_channels=width, feat_channels=width)
        return
    config["rpn_head"].update(in_channels=width, feat_channels=width)
    head = config["roi_head"]
    for name in ("bbox_roi_extractor", "mask_roi_extractor"):
        if name in head:
            head[name].out_channels = width
    head.bbox_head.update(in_channels=width, fc_out_channels=4 * width)
    if "conv_out_channels" in head.bbox_head:
        head.bbox_head.conv_out_channels = width
    if "mask_head" in head:
        head.mask_head.update(in_channels=width, conv_out_channels=width)


def _deep_heads(config: Any, classes: int, norm: dict[str, Any], masks: bool) -> None:
    """Four convolutions and one layer for boxes (detectron2's NUM_CONV 4, NUM_FC 1), four for masks, norms in both."""
    config.roi_head.bbox_head.update(
        type="Shared4Conv1FCBBoxHead", conv_out_channels=256, norm_cfg=norm, num_classes=classes
    )
    if masks:
        config.roi_head.mask_head.update(norm_cfg=norm, num_classes=classes)


def _put_under(config: Any, backbone: Backbone, kind: str = "HarnessBackbone", **options: Any) -> None:
    """As `put_under`; images are padded to the square that an encoder of one size wants."""
    put_under(config, backbone, kind, **options)
    side = canvas_of(backbone)
    if side is not None:
        config.data_preprocessor.pad_size_divisor = side


def _channels(backbone: Backbone) -> list[int]:
    return HarnessBackbone(backbone).channels


def _pyramid(backbone: Backbone) -> list[int]:
    """The channels of maps at strides 4 to 32.

    Raises:
        RequestError: other strides.
    """
    probe = HarnessBackbone(backbone)
    if probe.strides != [4, 8, 16, 32]:
        raise RequestError(
            "maps at strides 4, 8, 16 and 32 for an FPN",
            f"{backbone.arch} with strides {_text(probe)}",
            "use det/vitdet for a plain transformer",
        )
    return probe.channels


def _text(probe: HarnessBackbone) -> str:
    return ", ".join(map(str, probe.strides))
