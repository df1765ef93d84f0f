"""An encoder to train: a copy of a backbone's, with gradients, for heads that stand on maps of its layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.features import layer_indices
from benchmark.backbones.timm_models import bound_to_size
from benchmark.errors import BackboneError

_TRIAL = 256  # a side that every stride divides


@dataclass(frozen=True)
class Stage:
    """The map of a layer.

    Attributes:
        layer: index from 0, as `Features.grids` counts.
        channels: D of the map (B, D, h, w).
        stride: pixels of the image per pixel of the map; a fraction where a patch is no whole number of them.
    """

    layer: int
    channels: int
    stride: Fraction


class Encoder(nn.Module):
    """Images as the encoder wants them in, maps out; the weights are a copy, so that the backbone stays as it is.

    Class and register tokens are left out. A transformer with position embeddings takes images of the size that its
    backbone was opened for and no others: open the checkpoint for the task's size, which interpolates them as the
    family's authors do. Networks without them take any size.

    Args:
        backbone: the loaded encoder.
        layers: the last n layers, or indices; None for those a pyramid stands on: every layer of a hierarchical network
            at stride 4 and above, the last layer of a plain transformer.
        norm: maps of transformers through the final norm, as `Features.grids` gives them (DINO's and DINOv2's
            evaluations); without it as they leave their block (MAE's, BEiT's and ViTDet's).

    Attributes:
        stages: the maps that `forward` returns, in order.
        size: (h, w) of the images it is bound to; None where it takes any.

    Raises:
        BackboneError: an encoder without maps, or without such layers.
    """

    def __init__(self, backbone: Backbone, layers: int | Sequence[int] | None = None, norm: bool = False) -> None:
        super().__init__()
        if not backbone.depth:
            raise BackboneError("an encoder with maps", f"{backbone.arch}, which gives vectors only", "choose another")
        self.arch = backbone.arch
        self.norm = norm
        self._own = copy.copy(backbone)
        self.module = copy.deepcopy(backbone.module).requires_grad_(True)
        bound = bound_to_size(self.module) or isinstance(self.module, VisionTransformer)
        self.size: tuple[int, int] | None = backbone.preprocessing.size if bound else None
        self.stages = tuple(self._measure(tuple(range(backbone.depth))))
        wanted = self._default() if layers is None else layer_indices(layers, backbone.depth)
        self.stages = tuple(self.stages[index] for index in wanted)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, D_i, h_i, w_i) of `stages`, from the first to the last.

        Args:
            x: (B, 3, H, W), normalised as the checkpoint's preprocessing says.

        Raises:
            BackboneError: images of a size that the encoder does not take.
        """
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            raise BackboneError(
                f"images of {self.size[0]} x {self.size[1]}, for which {self.arch} was opened",
                f"{x.shape[-2]} x {x.shape[-1]}",
                "open the checkpoint for the task's size and pad to it (a Swin may take ?strict_img_size=False)",
            )
        return tuple(self._maps(x, tuple(stage.layer for stage in self.stages)))

    def _maps(self, x: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        self._own.module = self.module  # whoever copied or converted this encoder replaced the module
        maps = self._own._features(x, frozenset(), layers).maps if self.norm else self._own._bare_maps(x, layers)
        return [maps[layer] for layer in layers]

    @torch.no_grad()
    def _measure(self, layers: tuple[int, ...]) -> list[Stage]:
        """What the layers give for an image, in the mode of evaluation."""
        height, width = self.size or (_TRIAL, _TRIAL)
        like = next(self.module.parameters())
        maps = self._maps(torch.zeros(1, 3, height, width, device=like.device, dtype=like.dtype), layers)
        return [
            Stage(layer, found.shape[1], Fraction(height, found.shape[2]))
            for layer, found in zip(layers, maps, strict=True)
        ]

    def _default(self) -> tuple[int, ...]:
        if len({stage.stride for stage in self.stages}) == 1:
            return (self.stages[-1].layer,)
        return tuple(stage.layer for stage in self.stages if stage.stride >= 4)
