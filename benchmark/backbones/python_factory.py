"""Encoders from a Python function of the user: `python:package.module:factory` or `python:path/to/file.py:factory`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from benchmark.backbones.options import Value
from benchmark.errors import BackboneError, nearest


def build_from_factory(where: str, options: Mapping[str, Value]) -> nn.Module:
    """Calls the factory and returns its module, with whatever weights it has.

    Args:
        where: `package.module:factory` or `path/to/file.py:factory`.
        options: keyword arguments of the factory.

    Raises:
        BackboneError: no such module or function, a factory that fails, or one that returns no module.
    """
    place, colon, name = where.rpartition(":")
    if not (colon and place and name.isidentifier()):
        raise BackboneError("python:MODULE:FACTORY", repr(where), "write python:package.module:function")
    factory: Any = getattr(_import(place), name, None)
    if not callable(factory):
        names = [n for n, value in vars(_import(place)).items() if callable(value) and not n.startswith("_")]
        raise BackboneError(f"a function in {place}", repr(name), nearest(name, names))
    try:
        built = factory(**options)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        KeyError,
        AttributeError,
        ImportError,
        OSError,
        AssertionError,
    ) as error:
        raise BackboneError(
            f"{name}({', '.join(options)}) to return a module",
            f"{type(error).__name__}: {error}",
            "correct the factory",
        ) from error
    if not isinstance(built, nn.Module):
        raise BackboneError(f"a torch module from {name}", type(built).__name__, "return an nn.Module")
    return built


def _import(place: str) -> ModuleType:
    """The module at a dotted name or a path."""
    path = Path(place)
    if path.suffix == ".py":
        if not path.is_file():
            raise BackboneError("a Python file", f"nothing at {place}", "correct the path")
        key = f"transferbench_user_{path.stem}_{abs(hash(path.resolve()))}"
        if key in sys.modules:
            return sys.modules[key]
        plan = importlib.util.spec_from_file_location(key, path)
        if plan is None or plan.loader is None:
            raise BackboneError("a Python file", place, "correct the path")
        module = importlib.util.module_from_spec(plan)
        sys.modules[key] = module
        try:
            plan.loader.exec_module(module)
        except (ImportError, SyntaxError, NameError, AttributeError, OSError) as error:
            del sys.modules[key]
            raise BackboneError(f"{place} to import", f"{type(error).__name__}: {error}", "correct it") from error
        return module
    try:
        return importlib.import_module(place)
    except (ImportError, SyntaxError, NameError, AttributeError) as error:
        raise BackboneError(
            f"{place} to import", f"{type(error).__name__}: {error}", "install it, or write the path of its .py file"
        ) from error
