"""Faster R-CNN on C4: the last stage of a residual network works on each region instead of on the image."""

from __future__ import annotations

import copy

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.errors import BackboneError
from tasks.openmmlab.adapter import HarnessBackbone, still_norms

_STAGE = "layer4"  # res5 of Caffe's names, in torchvision's and timm's


def _residual(backbone: Backbone) -> nn.Module:
    stage = getattr(backbone.module, _STAGE, None)
    if not isinstance(stage, nn.Module):
        raise BackboneError(
            f"a residual network, whose {_STAGE} works on regions", backbone.arch, "choose a protocol on an FPN"
        )
    return stage


@MODELS.register_module(name="HarnessC4")
class HarnessC4(HarnessBackbone):
    """A residual network up to its third stage, (B, D, h, w) at stride 16; `HarnessRes5` has the last one.

    Args:
        backbone: the loaded encoder.
        frozen, still_norm, synchronise: as `HarnessBackbone` takes them.

    Raises:
        BackboneError: another kind of network.
    """

    def __init__(
        self, backbone: Backbone, frozen: bool = False, still_norm: bool = False, synchronise: bool = False
    ) -> None:
        _residual(backbone)
        layers = (backbone.depth - 2,)
        super().__init__(backbone, layers, frozen=frozen, still_norm=still_norm, synchronise=synchronise)
        setattr(self.encoder.module, _STAGE, nn.Identity())


@MODELS.register_module(name="HarnessRes5")
class HarnessRes5(nn.Module):
    """The last stage of a residual network, with the weights of the checkpoint: `shared_head` of a region head.

    Args:
        backbone: the loaded encoder.
        extra_norm: BatchNorm behind it, as MoCo's detection protocol has it for encoders that train BatchNorm
            (detection/train_net.py, Res5ROIHeadsExtraNorm).
        frozen: no gradients and no new statistics in the stage; the extra norm is trained all the same.
        still_norm: no new statistics in the stage.
        synchronise: BatchNorm over all processes, where there are several.

    Attributes:
        channels: D of its output.

    Raises:
        BackboneError: another kind of network.
    """

    def __init__(
        self,
        backbone: Backbone,
        extra_norm: bool = True,
        frozen: bool = False,
        still_norm: bool = False,
        synchronise: bool = False,
    ) -> None:
        super().__init__()
        self.frozen, self.still_norm = frozen, still_norm
        self.stage = copy.deepcopy(_residual(backbone)).requires_grad_(not frozen)
        self.channels = backbone.dims["patch"]
        self.norm: nn.Module = nn.BatchNorm2d(self.channels) if extra_norm else nn.Identity()
        if synchronise and torch.distributed.is_available() and torch.distributed.is_initialized():
            self.norm = nn.SyncBatchNorm.convert_sync_batchnorm(self.norm)
            if not frozen:
                self.stage = nn.SyncBatchNorm.convert_sync_batchnorm(self.stage)

    def forward(self, regions: Tensor) -> Tensor:
        """(K, C, h, w) to (K, D, h / 2, w / 2)."""
        return self.norm(self.stage(regions))

    def train(self, mode: bool = True) -> HarnessRes5:
        """As torch has it, but for a frozen stage."""
        super().train(mode)
        if self.frozen:
            self.stage.eval()
        elif self.still_norm:
            still_norms(self.stage)
        return self

    def init_weights(self) -> None:
        """Leaves the weights of the checkpoint: mmengine asks every part of a model to initialise itself."""
