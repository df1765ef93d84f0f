"""ViTDet's plain transformer: most blocks attend within windows, some to the whole image, with relative positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.encoder import Encoder
from benchmark.backbones.features import layer_indices
from benchmark.errors import BackboneError


class WindowAttention(nn.Module):
    """A block's attention, its weights untouched, over windows of the map or over all of it.

    Args:
        attention: of the block.
        grid: (h, w) of the map.
        window: the side of the windows; 0 for the whole map. A map is padded by zeros up to whole windows.
        relative: add the decomposed relative positions of ViTDet, which start at zero.
    """

    def __init__(self, attention: Attention, grid: tuple[int, int], window: int, relative: bool) -> None:
        super().__init__()
        self.inner, self.grid, self.window = attention, grid, window
        height, width = (window, window) if window else grid
        self.vertical = self.horizontal = None
        if relative:
            self.vertical = nn.Parameter(torch.zeros(2 * height - 1, attention.head_dim))
            self.horizontal = nn.Parameter(torch.zeros(2 * width - 1, attention.head_dim))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, h w, D) to (B, h w, D).

        Raises:
            BackboneError: a mask, which timm's blocks hand on where they are given one.
        """
        if attn_mask is not None or is_causal:
            raise BackboneError("windowed attention without a mask", "one", "leave the windows out")
        (height, width), side = self.grid, self.window
        if not side:
            return self._attend(x, height, width)
        below, right = -height % side, -width % side
        x = pad(x.unflatten(1, self.grid), (0, 0, 0, right, 0, below))
        rows, columns = (height + below) // side, (width + right) // side
        x = x.unflatten(2, (columns, side)).unflatten(1, (rows, side)).transpose(2, 3)  # (B, rows, columns, s, s, D)
        x = self._attend(x.flatten(0, 2).flatten(1, 2), side, side)
        x = x.unflatten(1, (side, side)).unflatten(0, (-1, rows, columns)).transpose(2, 3)
        return x.flatten(3, 4).flatten(1, 2)[:, :height, :width].flatten(1, 2)

    def _attend(self, x: Tensor, height: int, width: int) -> Tensor:
        """Attention among (B, h w, D); the terms of the relative positions see the query before it is scaled."""
        inner = self.inner
        qkv = inner.qkv(x).unflatten(2, (3, inner.num_heads, inner.head_dim)).permute(2, 0, 3, 1, 4)
        q, k, v = inner.q_norm(qkv[0]), inner.k_norm(qkv[1]), qkv[2]
        bias = None
        if self.vertical is not None and self.horizontal is not None:
            grid = q.unflatten(2, (height, width))
            rows = torch.einsum("bnhwc,hkc->bnhwk", grid, _between(self.vertical, height))
            columns = torch.einsum("bnhwc,wkc->bnhwk", grid, _between(self.horizontal, width))
            bias = (rows[..., :, None] + columns[..., None, :]).flatten(4, 5).flatten(2, 3)
        dropout = inner.attn_drop.p if self.training else 0.0
        x = scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return inner.proj_drop(inner.proj(x.transpose(1, 2).flatten(2)))


def _between(table: Tensor, side: int) -> Tensor:
    """(side, side, C) the entry of the offset from each position to each other."""
    places = torch.arange(side, device=table.device)
    return table[places[:, None] - places[None, :] + side - 1]


class WindowedEncoder(Encoder):
    """A plain vision transformer as ViTDet runs it (Li et al. 2022, section 3).

    No class token and no registers take part; the last map leaves its block without a final norm.

    Args:
        backbone: a timm `VisionTransformer`, opened for the size of the task.
        window: the side of the windows, in patches.
        whole: the blocks that see the whole image; None for the last of each quarter, as in ViTDet.
        relative: the decomposed relative positions that ViTDet adds and trains from zero.

    Raises:
        BackboneError: another kind of encoder, or one whose attention has parts that windows would change.
    """

    _windowed = False  # while the base class measures the encoder as it is

    def __init__(
        self, backbone: Backbone, window: int = 14, whole: Sequence[int] | None = None, relative: bool = True
    ) -> None:
        super().__init__(backbone, layers=1)
        vit: Any = self.module
        attentions = [block.attn for block in vit.blocks] if type(vit) is VisionTransformer else []
        plain = [type(a) is Attention and a.gate is None and isinstance(a.norm, nn.Identity) for a in attentions]
        if not plain or not all(plain):
            raise BackboneError(
                "a plain vision transformer for windowed attention",
                f"{backbone.arch}, a {type(vit).__name__} of another attention",
                "leave the windows out: its own attention sees the whole image",
            )
        depth, grid = len(attentions), vit.patch_embed.grid_size
        quarter = depth // 4
        chosen = range(quarter - 1, depth, quarter) if whole is None and quarter else whole or ()
        seeing = set(layer_indices(tuple(chosen), depth))
        self._windowed = True
        for index, block in enumerate(vit.blocks):
            block.attn = WindowAttention(block.attn, grid, 0 if index in seeing else window, relative)

    def _maps(self, x: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        if not self._windowed:
            return super()._maps(x, layers)
        vit: Any = self.module
        tokens = vit._pos_embed(vit.patch_embed(x))[:, vit.num_prefix_tokens :]
        tokens = vit.blocks(vit.norm_pre(tokens))
        return [tokens.transpose(1, 2).unflatten(2, vit.patch_embed.grid_size)]
