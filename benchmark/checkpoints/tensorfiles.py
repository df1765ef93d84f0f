"""The formats that hold named arrays and nothing else: safetensors, npz, and checkpoints split into shards."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from safetensors import SafetensorError, safe_open

from benchmark.checkpoints.formats import refuse
from benchmark.checkpoints.pickled import Refused
from benchmark.checkpoints.placeholder import Placeholder
from benchmark.checkpoints.rebuild import NumpyType
from benchmark.checkpoints.storage import ZIP_DAMAGE, BytesStorage, LazyTensor, broken, view

_SHARD = re.compile(r"-\d{3,6}-of-(?!0*1\.)\d{3,6}\.")
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


def read_safetensors(path: Path, shard: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors by name and the file's metadata.

    Args:
        path: the file.
        shard: it is one of several on purpose; otherwise a file named as one of several is refused.

    Raises:
        CheckpointError: damaged, cut short, or one shard alone.
    """
    if not shard and _SHARD.search(path.name):
        raise refuse(path, "one shard of several", "give the *.index.json that lists them all")
    try:
        with safe_open(str(path), framework="pt") as file:
            tree: dict[str, Any] = {}
            names = file.keys()  # safe_open is no mapping: it cannot be iterated itself
            for key in names:
                piece = file.get_slice(key)
                dtype = _DTYPES.get(piece.get_dtype())
                shape = tuple(piece.get_shape())
                tree[key] = (
                    LazyTensor(shape, dtype, _safetensor(path, key))
                    if dtype
                    else Placeholder(f"safetensors.{piece.get_dtype()}", called=True)
                )
            return tree, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise broken(path, f"a damaged or shortened safetensors file ({error})") from error


def _safetensor(path: Path, key: str) -> Callable[[], torch.Tensor]:
    def load() -> torch.Tensor:
        try:
            with safe_open(str(path), framework="pt") as file:
                tensor: torch.Tensor = file.get_tensor(key)
                return tensor
        except (SafetensorError, OSError, ValueError) as error:
            raise broken(path, f"the tensor {key} cannot be read ({error})") from error

    return load


def read_npz(path: Path) -> dict[str, Any]:
    """Arrays by name; those that are not numbers become placeholders, and no pickle inside is ever read.

    Raises:
        CheckpointError: damaged, or an entry that claims more than it holds.
    """
    tree: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            try:
                with archive.open(entry) as stream:
                    version = npy.read_magic(stream)
                    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, fortran, dtype = read(stream)
                    start = stream.tell()
            except ZIP_DAMAGE as error:
                raise broken(path, f"{entry.filename} is no numeric array ({error})") from error
            tree[entry.filename.removesuffix(".npy")] = _array(path, entry, start, shape, fortran, dtype)
    return tree


def _array(
    path: Path, entry: zipfile.ZipInfo, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]
) -> LazyTensor | Placeholder:
    nbytes = math.prod(shape) * dtype.itemsize
    if entry.file_size - start != nbytes and not dtype.hasobject:
        raise broken(path, f"{entry.filename} claims {nbytes} bytes and holds {entry.file_size - start}")
    kind = NumpyType(dtype.str)
    try:
        # numpy has no bfloat16: JAX writes it as two bytes without a meaning
        element = torch.bfloat16 if dtype.kind == "V" and dtype.itemsize == 2 and not dtype.names else kind.torch
    except Refused:
        return Placeholder(f"numpy.ndarray of {dtype.str}", called=True)

    def fetch() -> bytes:
        with zipfile.ZipFile(path) as archive, archive.open(entry) as stream:
            return stream.read()[start:]

    dims = shape if fortran else shape[::-1]
    steps = tuple(math.prod(dims[:i]) for i in range(len(dims)))
    storage = BytesStorage(path, nbytes, fetch, swap=kind.swap)
    return view(storage, element, 0, 0, tuple(shape), steps if fortran else steps[::-1], math.prod(shape))


def read_index(path: Path) -> dict[str, Path]:
    """Which file holds which tensor, from a `*.index.json` (`{"weight_map": {tensor: file}}`).

    Raises:
        CheckpointError: a file is missing, or the index points outside of its own folder.
    """
    content = json.loads(path.read_text("utf-8"))
    located: dict[str, Path] = {}
    for key, name in content["weight_map"].items():
        if not isinstance(name, str) or name != Path(name).name or "\\" in name or name in ("", ".", ".."):
            raise broken(path, f"the shard {str(name)[:60]!r} of {key} is not a plain file name")
        located[key] = path.with_name(name)
    missing = sorted({shard.name for shard in located.values() if not shard.is_file()})
    if missing:
        raise refuse(
            path, f"{len(missing)} shards are missing: {', '.join(missing[:3])}", "put all shards beside the index"
        )
    if not located:
        raise refuse(path, "an index of no tensors", "give the weights themselves")
    return located


def join(path: Path, located: Mapping[str, Path], shards: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """One dictionary from the shards, in the order of the index.

    Raises:
        CheckpointError: index and shards disagree about what is where.
    """
    for key, shard in located.items():
        if key not in shards[shard]:
            raise broken(path, f"{key} is not in {shard.name}, where the index has it")
    for shard, tree in shards.items():
        extra = [key for key in tree if located.get(key) != shard]
        if extra:
            raise broken(path, f"{shard.name} holds {extra[0]}, which the index does not list there")
    return {key: shards[shard][key] for key, shard in located.items()}
