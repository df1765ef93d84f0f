"""Tensors as torch's pickles write them: the functions of the table that take a storage and give a view of it.

Each takes arguments from an untrusted file; see `rebuild`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from benchmark.checkpoints.pickled import Known, PickleDamage, Refused
from benchmark.checkpoints.storage import LazyTensor, Storage, view

# The storage classes of torch and their element types. Those of quantised tensors are read as the integers that they
# are, so that the file can be opened; the function that would make a quantised tensor of them is not in the table.
STORAGES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "DoubleStorage": torch.float64,
        "FloatStorage": torch.float32,
        "HalfStorage": torch.float16,
        "BFloat16Storage": torch.bfloat16,
        "LongStorage": torch.int64,
        "IntStorage": torch.int32,
        "ShortStorage": torch.int16,
        "CharStorage": torch.int8,
        "ByteStorage": torch.uint8,
        "BoolStorage": torch.bool,
        "ComplexDoubleStorage": torch.complex128,
        "ComplexFloatStorage": torch.complex64,
        "UntypedStorage": torch.uint8,
        "QInt8Storage": torch.int8,
        "QUInt8Storage": torch.uint8,
        "QInt32Storage": torch.int32,
        "QUInt4x2Storage": torch.uint8,
        "QUInt2x4Storage": torch.uint8,
    }
)


@dataclass(frozen=True)
class StorageType:
    """A storage class that the file names."""

    dtype: torch.dtype


@dataclass(frozen=True)
class TypedStorage:
    """What a persistent id stands for: `numel` elements of `dtype` from byte `start` of `storage`."""

    storage: Storage
    dtype: torch.dtype
    numel: int
    start: int = 0


def integer(value: Any) -> int:
    """The value if it is a plain non-negative integer.

    Raises:
        PickleDamage: it is not.
    """
    if type(value) is not int or value < 0:
        raise PickleDamage(f"a {type(value).__name__} where a size or an offset is needed")
    return value


def integers(value: Any) -> tuple[int, ...]:
    """The value as sizes or strides.

    Raises:
        PickleDamage: it holds something else than plain non-negative integers.
    """
    if not isinstance(value, (tuple, list)):
        raise PickleDamage(f"a {type(value).__name__} where sizes are needed")
    return tuple(integer(part) for part in value)


def tensor(storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None) -> LazyTensor:
    """A view of a storage: how the first versions of torch wrote a tensor."""
    if not isinstance(storage, TypedStorage):
        raise PickleDamage("a tensor without a storage")
    kind = dtype or storage.dtype
    room = storage.numel
    if kind != storage.dtype:  # an untyped storage: its elements are bytes
        room = (
            storage.numel
            * torch.empty((), dtype=storage.dtype).element_size()
            // torch.empty((), dtype=kind).element_size()
        )
    return view(storage.storage, kind, storage.start, integer(offset), integers(size), integers(stride), room)


def _plain(metadata: tuple[Any, ...]) -> None:
    """Refuses the lazy conjugate and negative views of complex tensors."""
    for entry in metadata:
        if entry and (not isinstance(entry, dict) or any(entry.values())):
            raise Refused


def tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any = None, _hooks: Any = None, *rest: Any
) -> Any:
    """The same with the flags of a tensor, which say nothing of its numbers."""
    _plain(rest)
    return tensor(storage, offset, size, stride)


def tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *rest: Any
) -> LazyTensor:
    """The same of an untyped storage, with the element type."""
    _plain(rest)
    if not isinstance(dtype, torch.dtype) or dtype.itemsize < 1 or str(dtype).startswith(("torch.q", "torch.bits")):
        raise Refused
    return tensor(storage, offset, size, stride, dtype)


def parameter(data: Any, *_: Any) -> LazyTensor:
    """A parameter: the tensor in it."""
    if not isinstance(data, LazyTensor):
        raise Refused  # a parameter around a quantised or sparse tensor, itself a placeholder
    return data


def from_numpy(data: Any, dtype: Any, *_: Any) -> LazyTensor:
    """How tensors of devices without storages (XLA) are written: a numpy array and the type it had."""
    if not isinstance(data, LazyTensor) or not isinstance(dtype, torch.dtype):
        raise Refused
    return LazyTensor(data.shape, dtype, lambda: data.load().to(dtype))


def from_type(function: Any, kind: Any, args: Any, _state: Any) -> Any:
    """A tensor with attributes, or of a subclass: the plain tensor in it."""
    if (
        not isinstance(function, Known)
        or function.call is None
        or not isinstance(args, tuple)
        or not isinstance(kind, Known)
    ):
        raise Refused
    made = function.call(*args)
    if not isinstance(made, LazyTensor):
        raise Refused
    return made


def shape_of(*parts: Any) -> torch.Size:
    """A `torch.Size` of its parts, or of the tuple of them."""
    return torch.Size(integers(parts[0] if len(parts) == 1 else parts))


def device(*parts: Any) -> torch.device:
    """A device by its name."""
    if not parts or not isinstance(parts[0], str) or not all(type(part) is int for part in parts[1:]):
        raise Refused
    try:
        return torch.device(*parts)
    except RuntimeError as error:
        raise Refused from error
