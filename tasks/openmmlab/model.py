"""An mmdet or mmseg model from its configuration, on an encoder of the harness."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any, Literal

from tasks.openmmlab import ops


def build_model(config: Mapping[str, Any], library: Literal["mmdet", "mmseg"]) -> Any:
    """The model (a torch module), its heads freshly initialised and its encoder as it was loaded.

    Args:
        config: as mmdet's or mmseg's configurations have it, with a `backbone` of type `HarnessBackbone`.
        library: whose names it uses.

    Raises:
        RequestError: see `ops.provide`.
    """
    ops.provide()
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    with warnings.catch_warnings():
        for category in (DeprecationWarning, SyntaxWarning):  # docstrings of mmdet; a SyntaxWarning from Python 3.12 on
            warnings.filterwarnings("ignore", "invalid escape sequence", category)
        for part in ("tasks.openmmlab.adapter", "tasks.openmmlab.pyramid", f"{library}.models"):
            importlib.import_module(part)  # each registers its names
    registry = importlib.import_module(f"{library}.registry")
    # What mmengine itself builds (the data preprocessor) is looked up in the library of the scope.
    with DefaultScope.overwrite_default_scope(library):
        model: Any = registry.MODELS.build(ConfigDict(config))
    model.init_weights()
    return model
