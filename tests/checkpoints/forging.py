"""Writers of checkpoint files, honest and forged, for the tests of this folder."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark.checkpoints.storage import LazyTensor

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class Call:
    """Pickles as a call of `function` with `args`, and a state where one is given."""

    def __init__(self, function: Callable[..., Any], *args: Any, state: Any = None) -> None:
        self.function, self.args, self.state = function, args, state

    def __reduce__(self) -> Any:
        return (self.function, self.args) if self.state is None else (self.function, self.args, self.state)


class Persistent:
    """Pickles as a persistent id."""

    def __init__(self, identity: Any) -> None:
        self.identity = identity


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.identity if isinstance(obj, Persistent) else None


def program(value: Any, protocol: int = 2) -> bytes:
    """The pickle of a value with `Call` and `Persistent` in it."""
    stream = io.BytesIO()
    _Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def stored(key: Any = "0", numel: Any = 4, kind: Any = torch.FloatStorage) -> Persistent:
    """A storage as torch refers to it."""
    return Persistent(("storage", kind, key, "cpu", numel))


def tensor(storage: Any, offset: Any = 0, size: Any = (4,), stride: Any = (1,)) -> Call:
    """A tensor as torch pickles it."""
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})


def zip_of(
    path: Path, code: bytes, data: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    """Writes a torch zip whose data.pkl is `code` and whose storages are `data`."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", b"3\n")
        for key, raw in (data or {}).items():
            archive.writestr(f"archive/data/{key}", raw)
    return path


def legacy_of(path: Path, code: bytes, keys: Any = (), tail: bytes = b"") -> Path:
    """Writes a legacy torch file around the pickle `code`, with `tail` where the storages come."""
    parts = [LEGACY_MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    raw = b"".join(pickle.dumps(part, protocol=2) for part in parts)
    path.write_bytes(raw + code + pickle.dumps(list(keys), protocol=2) + tail)
    return path


def text(value: str) -> bytes:
    """The BINUNICODE opcode."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def loaded(tree: Any) -> Any:
    """The tree with its lazy tensors read."""
    if isinstance(tree, LazyTensor):
        return tree.load()
    if isinstance(tree, dict):
        return {key: loaded(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(loaded(value) for value in tree) if type(tree) in (list, tuple) else tree
    return tree


def assert_same(ours: Any, theirs: Any) -> None:
    """Equality of trees, with tensors equal in type, shape, stride-free values and NaN."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, torch.Tensor)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        raw = (
            (t.detach().contiguous().reshape(-1).view(torch.uint8) if t.numel() else t.detach()) for t in (ours, theirs)
        )
        assert torch.equal(*raw)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)) and not isinstance(theirs, torch.Size):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours == theirs
        assert type(ours) is type(theirs)
