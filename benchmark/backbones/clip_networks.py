"""Image towers of CLIP's relatives that timm builds only in part, from timm's blocks.

Factories for `--arch python:benchmark.backbones.clip_networks:NAME?...`; layouts name them where a family needs one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm import create_model
from timm.layers import AttentionPool2d, QuickGELU
from timm.models.byobnet import ByoBlockCfg
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

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


class LocalMlp(nn.Module):
    """An MLP with a convolution over the patches between its layers (LeFF), as in PyramidCLIP; tensors have its names.

    Args:
        dim: channels; four times as many inside.
        grid: rows and columns of patches.
    """

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        wide = 4 * dim
        self.grid = grid
        self.linear1 = nn.Linear(dim, wide)
        self.ac1 = nn.Sequential(OrderedDict(bn=nn.BatchNorm1d(wide), gelu=QuickGELU()))
        conv = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.depConv = nn.Sequential(OrderedDict(depconv=conv, bn=nn.BatchNorm2d(wide), gelu=QuickGELU()))
        self.linear2 = nn.Linear(wide, dim)
        self.ac2 = nn.Sequential(OrderedDict(bn=nn.BatchNorm1d(dim), gelu=QuickGELU()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + N, D) to the same; the class token passes as it is."""
        token, patches = x[:, :1], x[:, 1:]
        inner = self.ac1(self.linear1(patches).transpose(1, 2))
        inner = self.depConv(inner.unflatten(2, self.grid)).flatten(2)
        outer = self.ac2(self.linear2(inner.transpose(1, 2)).transpose(1, 2))
        return torch.cat([token, outer.transpose(1, 2)], dim=1)


def leff_vit(
    img_size: int | tuple[int, int] = 224,
    patch_size: int = 16,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    local: int = 9,
) -> nn.Module:
    """PyramidCLIP's vision transformer: CLIP's, with convolutions in the MLP of its first blocks.

    Args:
        img_size: (h, w) or side of the images.
        patch_size: as in every vision transformer.
        embed_dim: likewise.
        depth: likewise.
        num_heads: likewise.
        local: blocks with convolutions.
    """
    net = VisionTransformer(
        img_size,
        patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        pre_norm=True,
        act_layer=QuickGELU,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        num_classes=0,
    )
    for block in list(net.blocks)[:local]:
        block.add_module("mlp", LocalMlp(embed_dim, net.patch_embed.grid_size))
    return net


class NormedBlock(Block):
    """timm's block with a norm behind it: where one transformer ends and the next one begins."""

    def __init__(self, dim: int, num_heads: int, **settings: Any) -> None:
        super().__init__(dim, num_heads, **settings)
        self.behind: nn.Module = settings["norm_layer"](dim)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        result: Tensor = self.behind(super().forward(x, attn_mask=attn_mask, is_causal=is_causal))
        return result


def beit3_fusion(
    img_size: int | tuple[int, int] = 224,
    patch_size: int = 16,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    hidden: int = 3072,
    fused: int = 3,
) -> nn.Module:
    """M2-Encoder's image path: BEiT-3's blocks, then those that images share with texts, each with a final norm.

    Args:
        img_size: (h, w) or side of the images.
        patch_size: as in every vision transformer.
        embed_dim: likewise.
        depth: of both parts together.
        num_heads: as in every vision transformer.
        hidden: width inside the MLP.
        fused: blocks of the second part.
    """
    norm = partial(nn.LayerNorm, eps=1e-5)
    inside = {"mlp_ratio": (hidden + 0.5) / embed_dim, "scale_attn_norm": True, "scale_mlp_norm": True}  # rounded down
    settings: dict[str, Any] = {**inside, "qkv_bias": True, "norm_layer": norm}
    net = VisionTransformer(
        img_size,
        patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        num_classes=0,
        **settings,
    )
    if fused:
        net.blocks[depth - fused - 1] = NormedBlock(embed_dim, num_heads, **settings)
    return net
