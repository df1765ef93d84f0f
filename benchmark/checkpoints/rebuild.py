"""The fixed table of what a checkpoint's pickle may name: tensors, their storages, plain containers, numeric arrays.

Every function here takes arguments from an untrusted file and returns plain data. A function that meets arguments it
does not serve raises `Refused` (a placeholder is written down instead); contradictory ones raise `CheckpointError`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark.checkpoints.pickled import Known, PickleDamage, Refused, Unfinished, hashable
from benchmark.checkpoints.pickled_tensors import (
    STORAGES,
    StorageType,
    device,
    from_numpy,
    from_type,
    integers,
    parameter,
    shape_of,
    tensor,
    tensor_v2,
    tensor_v3,
)
from benchmark.checkpoints.placeholder import Placeholder
from benchmark.checkpoints.storage import BytesStorage, LazyTensor, view

_OTHER_ORDER = ">" if sys.byteorder == "little" else "<"
_NUMPY = {"f": "float", "i": "int", "u": "uint", "b": "bool", "c": "complex"}


def _pairs(*parts: Any) -> dict[Any, Any]:
    """`OrderedDict()`, `dict()` and, as Python 2 wrote them, `OrderedDict([[key, value], ...])`."""
    if not parts:
        return {}
    if len(parts) > 1:
        raise Refused
    if isinstance(parts[0], dict):
        return dict(parts[0])
    if not isinstance(parts[0], (list, tuple)) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in parts[0]
    ):
        raise Refused
    return {hashable(key): value for key, value in parts[0]}


def _counts(*parts: Any) -> dict[Any, Any]:
    """`defaultdict(factory)` and `Counter({...})` as plain dictionaries."""
    return _pairs(*parts) if parts and isinstance(parts[0], dict) else {}


def _sequence(make: Callable[[Any], Any]) -> Callable[..., Any]:
    def build(*parts: Any) -> Any:
        if len(parts) > 1 or (parts and not isinstance(parts[0], (list, tuple, set, frozenset))):
            raise Refused
        values = parts[0] if parts else ()
        return make([hashable(value) for value in values] if make in (set, frozenset) else values)

    return build


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes: text and the codec latin1. No other codec is looked up."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused
    return text.encode("latin1")


def _raw(*parts: Any) -> bytes:
    if len(parts) == 1 and isinstance(parts[0], (bytes, bytearray)):
        return bytes(parts[0])
    if len(parts) == 2:
        return _encode(*parts)
    if parts:
        raise Refused
    return b""


class NumpyType(Unfinished):
    """A `numpy.dtype` by its letter and width; `swap` when its byte order is not this machine's."""

    def __init__(self, text: str) -> None:
        self.text, self.swap = text.lstrip("<>=|"), text[:1] == _OTHER_ORDER

    def build(self, state: Any) -> None:
        """Takes the byte order from the state (version, order, ...)."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise PickleDamage("a numpy type in an unknown form")
        self.swap = state[1] == _OTHER_ORDER

    @property
    def torch(self) -> torch.dtype:
        """The torch type of equal meaning.

        Raises:
            Refused: text, dates, records, objects.
        """
        kind, digits = self.text[:1], self.text[1:]
        if kind not in _NUMPY or not digits.isdecimal() or len(digits) > 2:
            raise Refused
        found = torch.bool if kind == "b" else getattr(torch, f"{_NUMPY[kind]}{int(digits) * 8}", None)
        if not isinstance(found, torch.dtype) or found.itemsize != int(digits):
            raise Refused
        return found


def _numpy_type(text: Any, *_: Any) -> NumpyType:
    if not isinstance(text, str) or len(text) > 8:
        raise Refused
    return NumpyType(text)


class TableOfGlobals:
    """The table for one file (its path goes into messages and its numeric arrays point at it)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def array(self, shape: Any, kind: Any, fortran: Any, raw: Any) -> LazyTensor:
        """A numeric numpy array as a tensor.

        Raises:
            Refused: an array of anything but numbers.
        """
        if isinstance(raw, str):
            raw = raw.encode("latin1")  # Python 2 wrote the bytes as a string
        if not isinstance(kind, NumpyType) or not isinstance(raw, (bytes, bytearray)):
            raise Refused
        sizes, dtype = integers(shape), kind.torch
        held = bytes(raw)
        if math.prod(sizes) * dtype.itemsize != len(held):
            raise PickleDamage(f"a numpy array of shape {str(sizes)[:60]} with {len(held)} bytes")
        dims = sizes[::-1] if not fortran else sizes
        steps = tuple(math.prod(dims[:i]) for i in range(len(dims)))
        storage = BytesStorage(self._path, len(held), lambda: held, swap=kind.swap)
        return view(storage, dtype, 0, 0, sizes, steps if fortran else steps[::-1], math.prod(sizes))

    def globals(self) -> dict[tuple[str, str], Any]:
        """(module, name) -> a value, or a `Known` with our function for it."""
        table: dict[tuple[str, str], Any] = {}

        def add(modules: str, name: str, call: Callable[..., Any] | None = None) -> None:
            for module in modules.split():
                table[module, name] = Known(f"{module}.{name}", call)

        for module in ("torch", "torch.cuda", "torch.storage"):
            for name, dtype in STORAGES.items():
                table[module, name] = StorageType(dtype)
        for name in dir(torch):
            value = getattr(torch, name)
            if isinstance(value, torch.dtype):
                table["torch", name] = value
        add("torch._utils", "_rebuild_tensor", tensor)
        add("torch._utils", "_rebuild_tensor_v2", tensor_v2)
        add("torch._utils", "_rebuild_tensor_v3", tensor_v3)
        add("torch._utils", "_rebuild_parameter", parameter)
        add("torch._utils", "_rebuild_parameter_with_state", parameter)
        add("torch._utils", "_rebuild_device_tensor_from_numpy", from_numpy)
        add("torch._tensor", "_rebuild_from_type_v2", from_type)
        add("torch torch._tensor", "Tensor")
        add("torch.nn.parameter torch.nn", "Parameter")
        add("torch.nn.parameter torch.nn", "Buffer")
        add("torch", "Size", shape_of)
        add("torch", "device", device)
        add("collections", "OrderedDict", _pairs)
        add("collections", "defaultdict", _counts)
        add("collections", "Counter", _counts)
        python = "builtins __builtin__"
        add(python, "dict", _pairs)
        for name, make in (("list", list), ("tuple", tuple), ("set", set), ("frozenset", frozenset)):
            add(python, name, _sequence(make))
        add(python, "bytes", _raw)
        add(python, "bytearray", _raw)
        for name in ("int", "float", "complex", "bool", "str", "object"):
            add(python, name)  # as values only (`dtype=float`); a call becomes a placeholder
        add("_codecs", "encode", _encode)
        add("numpy", "dtype", _numpy_type)
        add("numpy", "ndarray")
        numpy = "numpy.core.multiarray numpy._core.multiarray"
        add(numpy, "_reconstruct", lambda *_: NumpyArray(self))
        add("numpy.core.numeric numpy._core.numeric", "_frombuffer", self._from_buffer)
        add("dill._dill dill.dill", "_create_array", self._from_dill)
        return table

    def _from_dill(self, _function: Any, _args: Any, state: Any, attributes: Any = None) -> Any:
        """How dill writes an array: the call that creates an empty one, and its state."""
        if attributes:
            raise Refused  # attributes of a subclass of arrays
        return NumpyArray(self).build(state)

    def _from_buffer(self, raw: Any, kind: Any, shape: Any, order: Any) -> LazyTensor:
        return self.array(shape, kind, order == "F", raw)


class NumpyArray(Unfinished):
    """An array between its creation and its state (version, shape, dtype, fortran order, bytes)."""

    def __init__(self, table: TableOfGlobals) -> None:
        self._table = table

    def build(self, state: Any) -> Any:
        """The tensor, or a placeholder for an array of anything but numbers."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleDamage("a numpy array in an unknown form")
        try:
            return self._table.array(*state[1:])
        except Refused:
            made = Placeholder("numpy.ndarray", called=True)
            made.state = state
            return made
