"""Any encoder of the harness where mmdet and mmseg want a backbone."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.encoder import Encoder
from benchmark.errors import RequestError
from tasks.openmmlab.windows import WindowedEncoder


@MODELS.register_module(name="HarnessBackbone")
class HarnessBackbone(nn.Module):
    """A loaded encoder as `backbone=dict(type="HarnessBackbone", backbone=..., ...)` of an mmdet or mmseg model.

    The weights are those of the checkpoint: nothing is initialised and nothing loaded. Images come in as
    `preprocessor.normalisation` has them normalised.

    Args:
        backbone: the loaded encoder, opened for the size of the task where it is bound to one.
        layers, norm: as `Encoder` takes them.
        frozen: no gradients, and evaluation mode whatever the model is in: statistics of BatchNorm, dropout and
            stochastic depth are left alone.
        still_norm: BatchNorm keeps its statistics while all else is trained (mmdet's `norm_eval`).
        window, whole, relative: as `WindowedEncoder` takes them; window 0 leaves attention as it is.
        drop_path: stochastic depth, of this rate at the last block, falling to none at the first.
        synchronise: BatchNorm over all processes, where there are several (SyncBN of MoCo's protocols).
        checkpointing: trade time for memory: activations of blocks are computed twice.

    Raises:
        RequestError: windows with other layers than the last; checkpointing or stochastic depth of an encoder that does
            not offer it.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: int | Sequence[int] | None = None,
        norm: bool = False,
        frozen: bool = False,
        still_norm: bool = False,
        window: int = 0,
        whole: Sequence[int] | None = None,
        relative: bool = True,
        drop_path: float = 0.0,
        synchronise: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.frozen, self.still_norm = frozen, still_norm
        if window and (layers is not None or norm):
            raise RequestError(
                "windowed attention with the bare last map, as in ViTDet",
                f"layers={layers} norm={norm}",
                "leave these out, or set window=0",
            )
        self.encoder: Encoder = (
            WindowedEncoder(backbone, window, whole, relative) if window else Encoder(backbone, layers, norm)
        )
        self.channels = [stage.channels for stage in self.encoder.stages]
        self.strides = [stage.stride for stage in self.encoder.stages]
        if frozen:
            self.encoder.requires_grad_(False)
        elif synchronise and torch.distributed.is_available() and torch.distributed.is_initialized():
            self.encoder.module = nn.SyncBatchNorm.convert_sync_batchnorm(self.encoder.module)
        if drop_path:
            _drop_paths(self.encoder.module, drop_path)
        if checkpointing:
            _checkpoint(self.encoder.module)
        self.train(self.training)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, D_i, h_i, w_i) of the layers, of images (B, 3, H, W)."""
        with torch.no_grad() if self.frozen else contextlib.nullcontext():
            maps: tuple[Tensor, ...] = self.encoder(x)
            return maps

    def train(self, mode: bool = True) -> HarnessBackbone:
        """As torch has it, but for what is frozen."""
        super().train(mode and not self.frozen)
        self.training = mode
        if mode and self.still_norm:
            still_norms(self.encoder)
        return self

    def init_weights(self) -> None:
        """Leaves the weights of the checkpoint: mmengine asks every part of a model to initialise itself."""


def still_norms(module: nn.Module) -> None:
    """Has BatchNorm keep its statistics; its weights are trained all the same."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()


def _drop_paths(module: nn.Module, rate: float) -> None:
    """Sets stochastic depth in the residual blocks of a timm network, which hold a place for it.

    Raises:
        RequestError: an encoder whose blocks do not.
    """
    names = ("drop_path", "drop_path1", "drop_path2")
    blocks = [part for part in module.modules() if any(name in vars(part) | dict(part._modules) for name in names)]
    if not blocks:
        raise RequestError("residual blocks with stochastic depth", type(module).__name__, "leave drop_path out")
    for index, block in enumerate(blocks):
        share = rate * index / max(len(blocks) - 1, 1)
        for name in names:
            if name in vars(block) | dict(block._modules):
                vars(block).pop(name, None)  # a residual network holds None there
                setattr(block, name, DropPath(share))


def _checkpoint(module: Any) -> None:
    """Has the blocks of an encoder keep no activations.

    Raises:
        RequestError: an encoder that does not offer it.
    """
    if not hasattr(module, "set_grad_checkpointing"):
        raise RequestError(
            "an encoder that can compute activations twice", type(module).__name__, "leave checkpointing out"
        )
    module.set_grad_checkpointing(True)
