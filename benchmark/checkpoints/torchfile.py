"""The two forms of `torch.save` files, and bare pickles, as trees of plain containers and lazy tensors.

Zip (torch 1.6 and newer): `NAME/data.pkl` and one entry per storage. Legacy: five pickles in a row (magic number,
protocol, system, the object, the storages' keys), then for each key an int64 element count and the elements, always
little-endian. A storage stays in the file, mapped, until a tensor over it is wanted.
"""

from __future__ import annotations

import mmap
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import torch

from benchmark.checkpoints.formats import LEGACY_MAGIC
from benchmark.checkpoints.pickled import PickleDamage
from benchmark.checkpoints.pickled_tensors import StorageType, TypedStorage, integer
from benchmark.checkpoints.rebuild import TableOfGlobals
from benchmark.checkpoints.storage import ZIP_DAMAGE, BytesStorage, FileStorage, MappedFile, Storage, broken, itemsize
from benchmark.checkpoints.unpickler import Unpickler

LEGACY_PROTOCOL = 1001  # torch/serialization.py, PROTOCOL_VERSION
LARGEST_PICKLE = 1 << 30  # names and shapes only; the largest of real files have some megabytes
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip entry: signature, ..., length of name, length of extra field


@dataclass(frozen=True)
class Unpickled:
    """An object tree and the foreign names that the pickle mentioned, with how often."""

    tree: Any
    foreign: dict[str, int]


def read_zip(path: Path) -> Unpickled:
    """The tree of a zip file of torch.

    Raises:
        CheckpointError: damaged, contradictory or made to deceive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        root = next(name for name in entries if name.partition("/")[2] == "data.pkl").partition("/")[0]
        order = _entry(path, archive, entries.get(f"{root}/byteorder"))
        program = _entry(path, archive, entries[f"{root}/data.pkl"])
    swap = order not in (b"", sys.byteorder.encode())
    file = MappedFile(path)
    made: dict[str, Storage] = {}

    def storage(key: str, nbytes: int) -> Storage:
        if key not in made:
            entry = entries.get(f"{root}/data/{key}")
            if entry is None:
                raise broken(path, f"no bytes for the storage {key[:40]!r}")
            made[key] = _zip_storage(file, entry, swap)
        if nbytes > made[key].nbytes:
            raise broken(path, f"the storage {key[:40]!r} has {made[key].nbytes} of {nbytes} bytes")
        return made[key]

    return _unpickle(path, BytesIO(program), lambda identity: _persistent(identity, storage)[0])


def _entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None) -> bytes:
    if entry is None:
        return b""
    if entry.file_size > LARGEST_PICKLE:
        raise broken(path, f"{entry.filename} claims {entry.file_size} bytes")
    try:
        if entry.compress_type != zipfile.ZIP_STORED:
            return archive.read(entry)
        with path.open("rb") as raw:
            raw.seek(_offset(path, entry))
            content = raw.read(entry.file_size)
    except ZIP_DAMAGE as error:
        raise broken(path, f"{entry.filename} cannot be read ({error})") from error
    if len(content) < entry.file_size or (entry.CRC and zlib.crc32(content) != entry.CRC):
        raise broken(path, f"{entry.filename} is damaged (its checksum differs)")
    return content


def _offset(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where a stored entry's bytes begin: after its local header, whose length the directory does not tell."""
    with path.open("rb") as raw:
        raw.seek(entry.header_offset)
        header = raw.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise broken(path, f"the entry {entry.filename} is not where the archive's directory says")
    _, name, extra = _LOCAL_HEADER.unpack(header)
    return entry.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)


def _zip_storage(file: MappedFile, entry: zipfile.ZipInfo, swap: bool) -> Storage:
    if entry.compress_type == zipfile.ZIP_STORED:
        # torch leaves the checksum at 0 where it was told not to compute one
        return FileStorage(file, _offset(file.path, entry), entry.file_size, swap, crc=entry.CRC or None)

    def fetch() -> bytes:
        with zipfile.ZipFile(file.path) as archive, archive.open(entry) as stream:
            return stream.read(entry.file_size)

    return BytesStorage(file.path, entry.file_size, fetch, swap)


def _persistent(identity: Any, storage: Callable[[str, int], Storage]) -> tuple[Any, str]:
    """What a persistent id stands for, and its storage key."""
    if isinstance(identity, tuple) and len(identity) >= 2 and identity[0] == "module":
        return identity[1], ""  # the class of a module saved whole, with its source code, which nobody reads
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise PickleDamage("a reference to something else than a storage")
    _, kind, key, _, numel, *rest = identity
    if not isinstance(kind, StorageType) or not isinstance(key, str):
        raise PickleDamage("a storage of an unknown type or without a key")
    width = itemsize(kind.dtype)
    whole = TypedStorage(storage(key, integer(numel) * width), kind.dtype, integer(numel))
    if rest and rest[0] is not None:  # a view of a storage: (its own key, first element, elements)
        if not isinstance(rest[0], tuple) or len(rest[0]) != 3:
            raise PickleDamage("a view of a storage in an unknown form")
        _, offset, length = rest[0]
        if integer(offset) + integer(length) > whole.numel:
            raise PickleDamage("a view that ends after its storage")
        return TypedStorage(whole.storage, kind.dtype, length, offset * width), key
    return whole, key


class _LaterStorage(Storage):
    """A storage whose place in the file is known only after the pickle has been read."""

    def __init__(self, path: Path, nbytes: int, dtype: torch.dtype) -> None:
        super().__init__(path, nbytes, swap=sys.byteorder == "big" and itemsize(dtype) > 1)
        self.dtype = dtype
        self.place: FileStorage | None = None

    def read(self, alignment: int) -> torch.UntypedStorage:
        if self.place is None:
            raise broken(self.path, "a storage that the file lists nowhere")
        return self.place.read(alignment)


def read_legacy(path: Path) -> Unpickled:
    """The tree of a file that torch before 1.6 wrote (or `_use_new_zipfile_serialization=False`).

    Raises:
        CheckpointError: damaged, cut short, contradictory or made to deceive.
    """
    made: dict[str, _LaterStorage] = {}

    def persistent(identity: Any) -> Any:
        def storage(key: str, nbytes: int) -> Storage:
            if key not in made:
                made[key] = _LaterStorage(path, nbytes, identity[1].dtype)
            if made[key].nbytes != nbytes:
                raise PickleDamage(f"the storage {key[:40]!r} with {made[key].nbytes} and with {nbytes} bytes")
            return made[key]

        return _persistent(identity, storage)[0]

    file = MappedFile(path)
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        table = TableOfGlobals(path).globals()
        unpickler = Unpickler(cast(IO[bytes], stream), table, persistent)
        try:
            if unpickler.load() != LEGACY_MAGIC or unpickler.load() != LEGACY_PROTOCOL:
                raise PickleDamage("not torch's magic number and protocol 1001")
            unpickler.load()  # the system that wrote it: the storages are little-endian on every one
            tree = unpickler.load()
            keys = unpickler.load()
        except PickleDamage as error:
            raise broken(path, f"its pickle is damaged or cut short ({error})") from error
        if (
            not isinstance(keys, list)
            or {key for key in keys if isinstance(key, str)} != set(made)
            or len(keys) != len(made)
        ):
            raise broken(path, "the list of storages disagrees with the tensors")
        at = stream.tell()
        for key in keys:
            at = _place(made[key], file, stream, at)
    return Unpickled(tree, _foreign(unpickler))


def _place(storage: _LaterStorage, file: MappedFile, stream: mmap.mmap, at: int) -> int:
    count = stream[at : at + 8]
    width = itemsize(storage.dtype)
    if len(count) < 8:
        raise broken(file.path, "cut short among its storages")
    (numel,) = struct.unpack("<q", count)
    if numel * width != storage.nbytes:
        raise broken(file.path, f"a storage of {numel} elements where its tensors need {storage.nbytes // width}")
    storage.place = FileStorage(file, at + 8, storage.nbytes)
    return at + 8 + storage.nbytes


def read_pickle(path: Path) -> Unpickled:
    """The tree of a bare pickle: dictionaries of numpy arrays, as converters and other frameworks write.

    Raises:
        CheckpointError: damaged or cut short.
    """
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        return _unpickle(path, cast(IO[bytes], stream), None)


def _unpickle(path: Path, stream: IO[bytes], persistent: Callable[[Any], Any] | None) -> Unpickled:
    unpickler = Unpickler(stream, TableOfGlobals(path).globals(), persistent)
    try:
        tree = unpickler.load()
    except PickleDamage as error:
        raise broken(path, f"its pickle is damaged or cut short ({error})") from error
    return Unpickled(tree, _foreign(unpickler))


def _foreign(unpickler: Unpickler) -> dict[str, int]:
    return {name: unpickler.foreign[name] or count for name, count in (unpickler.named | unpickler.foreign).items()}
