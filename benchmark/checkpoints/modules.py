"""Whole models, pickled (`torch.save(model)`) or scripted (TorchScript), as the state dicts that they would give."""

from __future__ import annotations

from typing import Any

from benchmark.checkpoints.placeholder import Placeholder
from benchmark.checkpoints.storage import LazyTensor
from benchmark.errors import CheckpointError

DEPTH = 32  # of modules within modules; real networks stay below ten
MODULES = 100_000  # in one model: records may share each other, and a small forged file then stands for a huge tree
SCRIPTED = "__torch__."  # how TorchScript names the classes of its modules


def module_state(value: Any, depth: int = 0) -> Any:
    """The tree with every record of a `torch.nn.Module` replaced by the state dict it would have given.

    The module's class is never imported: its parameters, buffers and children lie in its instance dictionary under
    the names that `torch.nn.Module` gives them, or, of a scripted module, all in one dictionary of attributes.

    Raises:
        CheckpointError: more modules than any network has.
    """
    if isinstance(value, Placeholder) and (_is_module(value) or _is_scripted(value)):
        return _Collector().collect(value)
    if isinstance(value, dict) and depth < 4:
        return {key: module_state(child, depth + 1) for key, child in value.items()}
    return value


def _is_module(value: Placeholder) -> bool:
    attributes = value.attributes
    return all(isinstance(attributes.get(name), dict) for name in ("_parameters", "_buffers", "_modules"))


def _is_scripted(value: Placeholder) -> bool:
    return value.called and value.qualname.startswith(SCRIPTED) and isinstance(value.state, dict)


class _Collector:
    """Walks the modules of one model."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}
        self._seen = 0

    def collect(self, module: Placeholder, prefix: str = "", depth: int = 0) -> dict[str, Any]:
        """Tensors by dotted name."""
        self._seen += 1
        if self._seen > MODULES:
            raise CheckpointError(
                f"a model of at most {MODULES} modules", f"more in {module.qualname}", "save its state_dict() instead"
            )
        tensors, children = _scripted_parts(module) if _is_scripted(module) else _parts(module)
        self._state.update({f"{prefix}{name}": value for name, value in tensors.items()})
        for name, child in children.items():
            if depth < DEPTH:
                self.collect(child, f"{prefix}{name}.", depth + 1)
        return self._state


Parts = tuple[dict[str, Any], dict[str, Placeholder]]


def _parts(module: Placeholder) -> Parts:
    """(tensors, modules) by name within a pickled module."""
    attributes = module.attributes
    transient = attributes.get("_non_persistent_buffers_set", set())
    own = {**attributes["_parameters"], **attributes["_buffers"]}
    tensors = {
        name: value
        for name, value in own.items()
        if isinstance(value, (LazyTensor, Placeholder)) and name not in transient
    }
    modules = attributes["_modules"].items()
    return tensors, {name: child for name, child in modules if isinstance(child, Placeholder) and _is_module(child)}


def _scripted_parts(module: Placeholder) -> Parts:
    """(tensors, modules) by name within a scripted module; its plain attributes are no weights."""
    attributes = module.attributes
    tensors = {name: value for name, value in attributes.items() if isinstance(value, LazyTensor)}
    return tensors, {
        name: child for name, child in attributes.items() if isinstance(child, Placeholder) and _is_scripted(child)
    }
