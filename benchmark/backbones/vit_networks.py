"""Vision transformers of published checkpoints that timm builds only in part, from timm's blocks.

Factories for `--arch python:benchmark.backbones.vit_networks:NAME?...`; layouts name them where a family needs one.
"""

from __future__ import annotations

from functools import partial

import torch
from timm.models.eva import Eva
from torch import Tensor, nn
from torch.nn.functional import linear


class MaskedBias(nn.Linear):
    """A linear layer whose bias counts where the buffer `bias_mask` is one: DINOv3's, with none for the keys."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("bias_mask", torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return linear(x, self.weight, self.bias * self.get_buffer("bias_mask"))


def dinov3(
    embed_dim: int = 384,
    depth: int = 12,
    num_heads: int = 6,
    hidden: int = 1536,
    gated: bool = False,
    patch_size: int = 16,
    registers: int = 4,
    qkv_bias: bool = True,
    masked: bool = True,
) -> nn.Module:
    """DINOv3's transformer for images of any size, with the periods of its rotary positions among its tensors.

    Published files hold these periods rounded to bfloat16; timm computes them in float32, and the features differ.

    Args:
        embed_dim: as in every vision transformer.
        depth: likewise.
        num_heads: likewise.
        hidden: width inside the MLP.
        gated: the MLP has a gate (SwiGLU).
        patch_size: likewise.
        registers: tokens between the class token and the patches.
        qkv_bias: queries, keys and values have a bias.
        masked: the file says by a mask where this bias counts.
    """
    net = Eva(
        patch_size=patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        qkv_bias=False,  # timm's would have none for keys, whatever the file says
        mlp_ratio=hidden / embed_dim,
        swiglu_mlp=gated,
        swiglu_align_to=1 if gated else 0,
        init_values=1e-5,
        num_reg_tokens=registers,
        global_pool="token",
        use_fc_norm=False,
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        rope_type="dinov3",
        rope_temperature=100.0,
        rope_rotate_half=True,
        dynamic_img_size=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    )
    for block in net.blocks if qkv_bias else ():
        attention = block.get_submodule("attn")
        attention.qkv = MaskedBias(embed_dim, 3 * embed_dim) if masked else nn.Linear(embed_dim, 3 * embed_dim)
    rope = net.get_submodule("rope")
    rope.register_buffer("periods", rope.get_buffer("periods"), persistent=True)
    return net
