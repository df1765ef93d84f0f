"""Configurations that mmdet and mmseg ship, with an encoder of the harness put under them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

import torch

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.timm_models import bound_to_size
from benchmark.errors import RequestError
from tasks.openmmlab.preprocessor import normalisation


def shipped(library: Literal["mmdet", "mmseg"], name: str) -> Any:
    """The `model` of a base configuration, as a mapping that can be changed.

    Args:
        library: whose.
        name: of the file in `configs/_base_/models`, without its ending.

    Raises:
        RequestError: the installed version does not ship it.
    """
    from mmengine.config import Config

    package = importlib.import_module(library)
    path = Path(str(package.__file__)).parent / ".mim" / "configs" / "_base_" / "models" / f"{name}.py"
    if not path.exists():
        raise RequestError(f"{library}'s configuration {name}", f"none at {path}", "install the tested version")
    return Config.fromfile(path).model


def put_under(config: Any, backbone: Backbone, kind: str = "HarnessBackbone", **options: Any) -> None:
    """Replaces the backbone of a configuration, and the normalisation of images by the checkpoint's (RGB images)."""
    config.pop("pretrained", None)
    config.backbone = {"type": kind, "backbone": backbone, **options}
    config.data_preprocessor.update(normalisation(backbone.preprocessing))


def canvas_of(backbone: Backbone) -> int | None:
    """The side of the square that images are padded to for an encoder of one size; None where it takes any."""
    return max(backbone.preprocessing.size) if bound_to_size(backbone.module) else None


def batch_norm() -> dict[str, Any]:
    """BatchNorm of freshly initialised layers: over all processes, where there are several."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    return {"type": "SyncBN" if several else "BN", "requires_grad": True}
