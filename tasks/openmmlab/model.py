"""An mmdet or mmseg model from its configuration, on an encoder of the harness."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import Any, Literal

import torch

from tasks.openmmlab import ops
from tasks.openmmlab.quiet import quiet

_OURS = tuple(f"tasks.openmmlab.{name}" for name in ("adapter", "pyramid", "res5"))


def build_model(config: Mapping[str, Any], library: Literal["mmdet", "mmseg"], seed: int = 0) -> Any:
    """The model (a torch module), its heads freshly initialised and its encoder as it was loaded.

    Args:
        config: as mmdet's or mmseg's configurations have it, with a `backbone` of type `HarnessBackbone`.
        library: whose names it uses.
        seed: of the heads' initial weights.

    Raises:
        RequestError: see `ops.provide`.
    """
    ops.provide()
    from mmengine.config import ConfigDict
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope

    with quiet(), torch.random.fork_rng(devices=[]):
        for part in (*_OURS, f"{library}.models"):
            importlib.import_module(part)  # each registers its names
        registry = importlib.import_module(f"{library}.registry")
        torch.manual_seed(seed)
        # What mmengine itself builds (the data preprocessor) is looked up in the library of the scope.
        with DefaultScope.overwrite_default_scope(library):
            model: Any = registry.MODELS.build(ConfigDict(config))
            _initialise(model, MMLogger.get_current_instance())
    return model


def _initialise(model: Any, logger: logging.Logger) -> None:
    """Has every part draw its weights, without the paragraph that mmengine logs for each parameter."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
