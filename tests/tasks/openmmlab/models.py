"""Small mmdet and mmseg models for the tests."""

from __future__ import annotations

from typing import Any

from benchmark.backbones.backbone import Backbone


def mask_rcnn(backbone: Backbone, *, size: int, **options: Any) -> dict[str, Any]:
    """Mask R-CNN with an FPN of 32 channels for three classes, on a hierarchical network; strides 4 to 64."""
    from tasks.openmmlab.adapter import HarnessBackbone
    from tasks.openmmlab.preprocessor import normalisation

    channels = HarnessBackbone(backbone, **options).channels
    roi = {"type": "SingleRoIExtractor", "out_channels": 32, "featmap_strides": [4, 8, 16, 32]}
    match = {"type": "MaxIoUAssigner", "ignore_iof_thr": -1}
    box_coder = {
        "type": "DeltaXYWHBBoxCoder",
        "target_means": [0.0] * 4,
        "target_stds": [0.1, 0.1, 0.2, 0.2],
    }
    cross_entropy = {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}
    return {
        "type": "MaskRCNN",
        "data_preprocessor": {
            "type": "DetDataPreprocessor",
            **normalisation(backbone.preprocessing),
            "pad_mask": True,
            "pad_size_divisor": size,
        },
        "backbone": {"type": "HarnessBackbone", "backbone": backbone, **options},
        "neck": {"type": "FPN", "in_channels": channels, "out_channels": 32, "num_outs": 5},
        "rpn_head": {
            "type": "RPNHead",
            "in_channels": 32,
            "feat_channels": 32,
            "anchor_generator": {
                "type": "AnchorGenerator",
                "scales": [4],
                "ratios": [0.5, 1.0, 2.0],
                "strides": [4, 8, 16, 32, 64],
            },
            "bbox_coder": {**box_coder, "target_stds": [1.0] * 4},
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": {**roi, "roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0}},
            "bbox_head": {
                "type": "Shared2FCBBoxHead",
                "in_channels": 32,
                "fc_out_channels": 64,
                "roi_feat_size": 7,
                "num_classes": 3,
                "bbox_coder": box_coder,
                "reg_class_agnostic": False,
                "loss_cls": cross_entropy,
                "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
            },
            "mask_roi_extractor": {**roi, "roi_layer": {"type": "RoIAlign", "output_size": 14, "sampling_ratio": 0}},
            "mask_head": {
                "type": "FCNMaskHead",
                "num_convs": 1,
                "in_channels": 32,
                "conv_out_channels": 32,
                "num_classes": 3,
                "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0},
            },
        },
        "train_cfg": {
            "rpn": {
                "assigner": {**match, "pos_iou_thr": 0.7, "neg_iou_thr": 0.3, "min_pos_iou": 0.3},
                "sampler": {"type": "RandomSampler", "num": 64, "pos_fraction": 0.5, "add_gt_as_proposals": False},
                "allowed_border": -1,
                "pos_weight": -1,
                "debug": False,
            },
            "rpn_proposal": {
                "nms_pre": 200,
                "max_per_img": 100,
                "nms": {"type": "nms", "iou_threshold": 0.7},
                "min_bbox_size": 0,
            },
            "rcnn": {
                "assigner": {**match, "pos_iou_thr": 0.5, "neg_iou_thr": 0.5, "min_pos_iou": 0.5},
                "sampler": {"type": "RandomSampler", "num": 64, "pos_fraction": 0.25, "add_gt_as_proposals": True},
                "mask_size": 28,
                "pos_weight": -1,
                "debug": False,
            },
        },
        "test_cfg": {
            "rpn": {
                "nms_pre": 200,
                "max_per_img": 100,
                "nms": {"type": "nms", "iou_threshold": 0.7},
                "min_bbox_size": 0,
            },
            "rcnn": {
                "score_thr": 0.05,
                "nms": {"type": "nms", "iou_threshold": 0.5},
                "max_per_img": 20,
                "mask_thr_binary": 0.5,
            },
        },
    }


def upernet(backbone: Backbone, *, size: int, **options: Any) -> dict[str, Any]:
    """UPerNet of 32 channels for three classes with an auxiliary FCN; a plain transformer's maps are rescaled first."""
    from tasks.openmmlab.adapter import HarnessBackbone
    from tasks.openmmlab.preprocessor import normalisation

    probe = HarnessBackbone(backbone, **options)
    plain = len(set(probe.strides)) == 1
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": False}
    head = {"num_classes": 3, "norm_cfg": {"type": "BN"}, "align_corners": False, "channels": 32}
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            **normalisation(backbone.preprocessing),
            "size": (size, size),
            "pad_val": 0,
            "seg_pad_val": 255,
        },
        "backbone": {"type": "HarnessBackbone", "backbone": backbone, **options},
        "neck": (
            {"type": "Feature2Pyramid", "embed_dim": probe.channels[0], "norm_cfg": {"type": "BN"}} if plain else None
        ),
        "decode_head": {
            "type": "UPerHead",
            "in_channels": probe.channels,
            "in_index": [0, 1, 2, 3],
            "pool_scales": (1, 2, 3, 6),
            "loss_decode": {**loss, "loss_weight": 1.0},
            **head,
        },
        "auxiliary_head": {
            "type": "FCNHead",
            "in_channels": probe.channels[2],
            "in_index": 2,
            "num_convs": 1,
            "loss_decode": {**loss, "loss_weight": 0.4},
            **head,
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
