"""Segmentors of the field's protocols: mmseg's own heads on an encoder of the harness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from benchmark.backbones.backbone import Backbone
from benchmark.data.annotations import IGNORE
from benchmark.errors import RequestError
from tasks.openmmlab.adapter import HarnessBackbone
from tasks.openmmlab.dilation import dilated
from tasks.openmmlab.recipes import batch_norm, put_under, shipped


def upernet(
    backbone: Backbone, classes: int, *, layers: Sequence[int] | None = None, width: int | None = None, **options: Any
) -> dict[str, Any]:
    """UPerNet with pools of 1, 2, 3 and 6 and an auxiliary FCN of weight 0.4.

    A plain transformer's four maps are rescaled to strides 4 to 32 first, and its heads are as wide as it is
    (mmseg/configs/mae); a hierarchical network's heads have 512 channels (upernet_r50.py, upernet_swin.py).

    Args:
        backbone: opened for the size of the crops where it is bound to one.
        classes: without the ignored label.
        layers: the four of a plain transformer: 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24 in BEiT and MAE; None for the
            stages of a hierarchical network.
        width: channels of both heads; None for those said above.
        options: of `HarnessBackbone`.

    Raises:
        RequestError: an encoder that does not give four maps so.
    """
    probe = HarnessBackbone(backbone, layers)
    if len(probe.channels) != 4:
        raise RequestError(
            "four maps for UPerNet",
            f"{len(probe.channels)} of {backbone.arch}",
            "name four layers of a plain transformer, for instance the ends of its quarters",
        )
    config = shipped("mmseg", "upernet_r50")
    put_under(config, backbone, layers=layers, **options)
    for head in (config.decode_head, config.auxiliary_head):
        head.update(num_classes=classes, norm_cfg=batch_norm())
    config.decode_head.in_channels = probe.channels
    config.auxiliary_head.in_channels = probe.channels[2]
    if len(set(probe.strides)) == 1:
        config.neck = {
            "type": "Feature2Pyramid",
            "embed_dim": probe.channels[0],
            "rescales": [4, 2, 1, 0.5],
            "norm_cfg": batch_norm(),
        }
        config.decode_head.channels = probe.channels[0]
    if width is not None:
        config.decode_head.channels = config.auxiliary_head.channels = width
    return _ignoring(config)


def fcn(backbone: Backbone, classes: int, *, output_stride: Literal[8, 16] = 8, **options: Any) -> dict[str, Any]:
    """FCN of two convolutions on a dilated residual network, with an auxiliary one of weight 0.4 (mmseg fcn_r50-d8).

    Args:
        backbone: of timm, one that can be dilated.
        classes: without the ignored label.
        output_stride: of the last map.
        options: of `HarnessBackbone`.
    """
    finer = dilated(backbone, output_stride)
    channels = HarnessBackbone(finer).channels
    config = shipped("mmseg", "fcn_r50-d8")
    put_under(config, finer, synchronise=True, **options)
    for head, width in ((config.decode_head, channels[-1]), (config.auxiliary_head, channels[-2])):
        head.update(num_classes=classes, norm_cfg=batch_norm(), in_channels=width)
    config.decode_head.in_index = len(channels) - 1
    config.auxiliary_head.in_index = len(channels) - 2
    return _ignoring(config)


def _ignoring(config: Any) -> dict[str, Any]:
    """With this project's value of pixels without a class in place of mmseg's 255, and no padding: views have none."""
    config.data_preprocessor.size_divisor = 1
    config.decode_head.ignore_index = config.auxiliary_head.ignore_index = IGNORE
    return dict(config)
