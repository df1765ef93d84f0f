"""Whole pickled models (`torch.save(model)`), whose state dict can be read off their inert records."""

from __future__ import annotations

from typing import Any

from benchmark.checkpoints.placeholder import Placeholder
from benchmark.checkpoints.storage import LazyTensor

DEPTH = 32  # of modules within modules; real networks stay below ten


def module_state(value: Any, depth: int = 0) -> Any:
    """The tree with every record of a pickled `torch.nn.Module` replaced by the state dict it would have given.

    The module's class is never imported: its parameters, buffers and children lie in its instance dictionary under
    the names that `torch.nn.Module` gives them.
    """
    if isinstance(value, Placeholder) and _is_module(value):
        state: dict[str, Any] = {}
        _collect(value, "", state, 0)
        return state
    if isinstance(value, dict) and depth < 4:
        return {key: module_state(child, depth + 1) for key, child in value.items()}
    return value


def _is_module(value: Placeholder) -> bool:
    attributes = value.attributes
    return all(isinstance(attributes.get(name), dict) for name in ("_parameters", "_buffers", "_modules"))


def _collect(module: Placeholder, prefix: str, state: dict[str, Any], depth: int) -> None:
    attributes = module.attributes
    transient = attributes.get("_non_persistent_buffers_set", set())
    for name, value in [*attributes["_parameters"].items(), *attributes["_buffers"].items()]:
        if isinstance(value, (LazyTensor, Placeholder)) and name not in transient:
            state[f"{prefix}{name}"] = value
    for name, child in attributes["_modules"].items():
        if isinstance(child, Placeholder) and _is_module(child) and depth < DEPTH:
            _collect(child, f"{prefix}{name}.", state, depth + 1)
