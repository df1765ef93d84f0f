"""The optimiser: rates that fall from the head to the first layer, and no weight decay of norms."""

from __future__ import annotations

from typing import Any

import torch
from timm.models._manipulate import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.errors import RequestError
from tasks.openmmlab.adapter import HarnessBackbone
from tasks.openmmlab.res5 import HarnessRes5
from tasks.openmmlab.schedule import Schedule, Spare

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
_TAIL = ("norm.", "fc_norm.")  # the final norm of a transformer, which stands behind its last block


def layer_ids(encoder: nn.Module) -> tuple[dict[str, int], int]:
    """(parameter -> layer, L + 1): 0 for patch and position embeddings, i for the i-th of L blocks, L + 1 for the rest.

    The rule of BEiT and MAE (util/lr_decay.py, get_layer_id_for_vit) and of ViTDet (get_vit_lr_decay_rate), by timm's
    own account of what belongs to which block. timm counts the final norm to the last block, these do not.

    Raises:
        RequestError: a network that has no such account.
    """
    matcher = getattr(encoder, "group_matcher", None)
    if matcher is None:
        raise RequestError(
            "an encoder that says which parameters belong to which block, for a layer decay",
            type(encoder).__name__,
            "set layer_decay=1, or load the checkpoint into an architecture of timm",
        )
    ids: dict[str, int] = group_parameters(encoder, matcher(coarse=False), reverse=True)
    last = 1 + max(ids.values())
    return {name: last if name.startswith(_TAIL) else layer for name, layer in ids.items()}, last


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    spare: Spare = "vectors",
    encoder_rate: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser over the parameters of a model that are trained.

    A parameter of layer i of L blocks of the encoder learns at lr * encoder_rate * layer_decay^(L + 1 - i), everything
    outside of it at lr.

    Args:
        model: an mmdet or mmseg model on a `HarnessBackbone`.
        lr: of the head.
        weight_decay: of everything else.
        layer_decay: 1 for one rate.
        spare: what has no weight decay: `vectors` (norms and biases: MAE, BEiT), `norms` (detectron2), both with the
            embeddings of positions and whatever else timm names so; or `nothing` (mmdet's SGD).
        encoder_rate: share of `lr` at which the encoder learns (DETR, main.py: lr_backbone is a tenth of lr).
    """
    scales: dict[int, float] = {}
    spared: set[int] = set()
    for part in model.modules():
        if isinstance(part, HarnessRes5):  # of the encoder, though it stands behind the regions
            scales |= {id(parameter): encoder_rate for parameter in part.stage.parameters()}
        if not isinstance(part, HarnessBackbone):
            continue
        module: Any = part.encoder.module
        own = dict(module.named_parameters())
        if spare != "nothing" and hasattr(module, "no_weight_decay"):
            spared |= {id(own[name]) for name in module.no_weight_decay() if name in own}
        scales |= {id(parameter): encoder_rate for parameter in own.values()}
        if layer_decay != 1.0:
            ids, last = layer_ids(module)
            scales |= {id(own[name]): encoder_rate * layer_decay ** (last - layer) for name, layer in ids.items()}
    if spare == "norms":
        norms = [part for part in model.modules() if isinstance(part, _NORMS)]
        spared |= {id(parameter) for part in norms for parameter in part.parameters(recurse=False)}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        scale = scales.get(id(parameter), 1.0)
        vector = spare == "vectors" and parameter.ndim <= 1
        decay = 0.0 if vector or id(parameter) in spared else weight_decay
        group = groups.setdefault(
            (scale, decay), {"params": [], "lr": lr * scale, "weight_decay": decay, "lr_scale": scale}
        )
        group["params"].append(parameter)
    return list(groups.values())


def optimiser_of(schedule: Schedule, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over what is trained of a model; every group keeps its own highest rate as `peak`."""
    groups = parameter_groups(
        model, schedule.lr, schedule.weight_decay, schedule.layer_decay, schedule.spare, schedule.encoder_rate
    )
    found: torch.optim.Optimizer = (
        torch.optim.SGD(groups, lr=schedule.lr, momentum=schedule.momentum)
        if schedule.optimizer == "sgd"
        else torch.optim.AdamW(groups, lr=schedule.lr, betas=schedule.betas)
    )
    for group in found.param_groups:
        group["peak"] = group["lr"]
    return found
