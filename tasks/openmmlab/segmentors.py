"""Segmentors of the field's protocols: mmseg's own heads on an encoder of the harness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from benchmark.backbones.backbone import Backbone
from benchmark.errors import RequestError
from tasks.openmmlab.adapter import HarnessBackbone
from tasks.openmmlab.dilation import dilated
from tasks.openmmlab.recipes import batch_norm, put_under, shipped


def upernet(
    backbone: Backbone, classes: int, *, layers: Sequence[int] | None = None, size: int = 512, **options: Any
) -> dict[str, Any]:
    """UPerNet with pools of 1, 2, 3 and 6 and an auxiliary FCN of weight 0.4, tested by sliding windows.

    A plain transformer's four maps are rescaled to strides 4 to 32 first, and its heads are as wide as it is
    (mmseg/configs/mae); a hierarchical network's heads have 512 channels (upernet_r50.py, upernet_swin.py).

    Args:
        backbone: opened for `size` where it is bound to one.
        classes: without the ignored label, 255.
        layers: the four of a plain transformer: 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24 in BEiT and MAE; None for the
            stages of a hierarchical network.
        size: of crops and windows, in pixels; windows stand two thirds of it apart.
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
        width = probe.channels[0]
        config.neck = {
            "type": "Feature2Pyramid",
            "embed_dim": width,
            "rescales": [4, 2, 1, 0.5],
            "norm_cfg": batch_norm(),
        }
        config.decode_head.channels = width
    return _sliding(config, size)


def fcn(
    backbone: Backbone, classes: int, *, output_stride: Literal[8, 16] = 8, size: int = 512, **options: Any
) -> dict[str, Any]:
    """FCN of two convolutions on a dilated residual network, with an auxiliary one of weight 0.4 (mmseg fcn_r50-d8).

    Args:
        backbone: of timm, one that can be dilated.
        classes: without the ignored label, 255.
        output_stride: of the last map.
        size: of crops and windows, in pixels.
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
    return _sliding(config, size)


def _sliding(config: Any, size: int) -> dict[str, Any]:
    config.data_preprocessor.size = (size, size)
    config.test_cfg = {"mode": "slide", "crop_size": (size, size), "stride": (size * 2 // 3, size * 2 // 3)}
    return dict(config)
