"""Image towers of CLIP's relatives that timm builds only in part, from timm's blocks.

Factories for `--arch python:benchmark.backbones.clip_networks:NAME?...`; layouts name them where a family needs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm import create_model
from timm.layers import AttentionPool2d
from timm.models.byobnet import ByoBlockCfg
from torch import nn

from benchmark.errors import BackboneError


def clip_resnet(
    blocks: Sequence[int] = (3, 4, 6, 3), width: int = 64, heads: int = 32, img_size: int | tuple[int, int] = 224
) -> nn.Module:
    """CLIP's residual network for images of any one size, its attention pooling with any number of heads.

    Args:
        blocks: per stage.
        width: of the stem; the last stage has 32 times as many channels.
        heads: of the pooling.
        img_size: (h, w) or the side of the images; its pooling has a position for each 32 x 32 pixels.

    Raises:
        BackboneError: heads that do not divide the width.
    """
    channels = 32 * width
    if channels % heads:
        raise BackboneError(f"heads that divide {channels} channels", str(heads), "correct heads")
    stages = [ByoBlockCfg(type="bottle", d=d, c=4 * width << i, s=1 + (i > 0), br=0.25) for i, d in enumerate(blocks)]
    stem = (width // 2, width // 2, width)
    settings: dict[str, Any] = {"blocks": tuple(stages), "stem_chs": stem, "img_size": img_size}
    net: nn.Module = create_model("resnet50_clip", num_classes=0, **settings)
    pooling = net.get_submodule("head")
    if isinstance(pooling, AttentionPool2d):
        pooling.num_heads, pooling.head_dim, pooling.scale = heads, channels // heads, (channels // heads) ** -0.5
    return net
