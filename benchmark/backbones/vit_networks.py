"""Vision transformers of published checkpoints that timm builds only in part, from timm's blocks.

Factories for `--arch python:benchmark.backbones.vit_networks:NAME?...`; layouts name them where a family needs one.
"""

from __future__ import annotations

from functools import partial

import torch
from timm.layers import LayerNorm, PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention


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


class StillClip(nn.Module):
    """A transformer for video that sees an image as a clip of equal frames; see `still_clip`.

    Its patch embedding is the one of a clip summed over the frames of a step, which are equal here.
    """

    def __init__(
        self, img_size: int, patch_size: int, steps: int, embed_dim: int, depth: int, num_heads: int, hidden: int
    ) -> None:
        super().__init__()
        self.steps = steps
        self.patch_embed = PatchEmbed(img_size, patch_size, embed_dim=embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, steps * (img_size // patch_size) ** 2, embed_dim))
        norm = LayerNorm  # of timm: epsilon 1e-6
        ratio = (hidden + 0.5) / embed_dim  # a block rounds down
        self.blocks = nn.Sequential(
            *(Block(embed_dim, num_heads, ratio, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        )
        self.norm = norm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) of images (B, 3, H, W), averaged over the clip's steps."""
        tokens: Tensor = self.patch_embed(x).repeat(1, self.steps, 1) + self.pos_embed
        tokens = self.norm(self.blocks(tokens))
        return tokens.unflatten(1, (self.steps, -1)).mean(1)


def still_clip(
    img_size: int = 224,
    patch_size: int = 16,
    steps: int = 8,
    embed_dim: int = 1024,
    depth: int = 24,
    num_heads: int = 16,
    hidden: int = 4096,
) -> nn.Module:
    """V-JEPA's transformer for images, which it sees as clips of equal frames.

    Args:
        img_size: side of the images.
        patch_size: as in every vision transformer.
        steps: of the clip: its frames over those that one token covers.
        embed_dim: as in every vision transformer.
        depth: likewise.
        num_heads: likewise.
        hidden: width inside the MLP.
    """
    return StillClip(img_size, patch_size, steps, embed_dim, depth, num_heads, hidden)


class PostNormBlock(Block):
    """timm's block with its norms behind the sums, as in the first transformers: inputs are added before them."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        x = self.norm1(x + self.ls1(self.attn(x, attn_mask=attn_mask, is_causal=is_causal)))
        return self.norm2(x + self.ls2(self.mlp(x)))


def post_norm_vit(
    img_size: int = 224,
    patch_size: int = 16,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    pooled_norm: bool = False,
) -> nn.Module:
    """data2vec 2.0's transformer for images: norms behind the sums, one before the first block, none behind the last.

    Its class token has no position.

    Args:
        img_size: side of the images.
        patch_size: as in every vision transformer.
        embed_dim: likewise.
        depth: likewise.
        num_heads: likewise.
        pooled_norm: the mean of the patches goes through a norm (fine-tuned weights).
    """
    net = VisionTransformer(
        img_size,
        patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        no_embed_class=True,
        global_pool="avg" if pooled_norm else "token",
        final_norm=pooled_norm,
        block_fn=PostNormBlock,
        norm_layer=LayerNorm,
    )
    net.norm_pre = LayerNorm(embed_dim)  # timm's own option also takes the bias of the patches away
    return net


class RotaryAttention(Attention):
    """timm's attention with queries and keys turned by the place of their patch (RoPE), as in CroCo v2.

    Half of a head's channels turn with the row, half with the column. Within a half, a channel is paired with the one
    half of that half further on.

    Args:
        dim: channels.
        num_heads: heads.
        grid: rows and columns of patches.
        base: of the geometric series of speeds.
    """

    def __init__(self, dim: int, num_heads: int, grid: tuple[int, int], base: float) -> None:
        super().__init__(dim, num_heads, qkv_bias=True)
        half = dim // num_heads // 2
        speeds = base ** -(torch.arange(0, half, 2) / half)
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        places = torch.stack([rows.flatten(), columns.flatten()], dim=1)
        angles = (places[..., None] * speeds).repeat(1, 1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)  # (N, 2, half)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(self._turned(q), self._turned(k), v)
        result: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return result

    def _turned(self, channels: Tensor) -> Tensor:
        """(B, heads, N, D) turned."""
        parts = channels.unflatten(-1, (2, -1))
        left, right = parts.chunk(2, dim=-1)
        turned = parts * self.get_buffer("cos") + torch.cat([-right, left], dim=-1) * self.get_buffer("sin")
        return turned.flatten(-2).to(channels.dtype)


def rotary_vit(
    img_size: int | tuple[int, int] = 224,
    patch_size: int = 16,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    hidden: int = 3072,
    base: float = 100.0,
) -> nn.Module:
    """CroCo v2's encoder: no class token, and rotary positions of patches in every block.

    Args:
        img_size: (h, w) or side of the images.
        patch_size: as in every vision transformer.
        embed_dim: likewise.
        depth: likewise.
        num_heads: likewise.
        hidden: width inside the MLP.
        base: of the rotations; `RoPE100` in its code.
    """
    net = VisionTransformer(
        img_size,
        patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=(hidden + 0.5) / embed_dim,  # a block rounds down
        class_token=False,
        pos_embed="none",
        global_pool="avg",
        fc_norm=False,
        norm_layer=LayerNorm,
    )
    for block in net.blocks:
        block.add_module("attn", RotaryAttention(embed_dim, num_heads, net.patch_embed.grid_size, base))
    return net
