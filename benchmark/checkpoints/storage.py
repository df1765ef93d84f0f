"""Bytes in a file that become a tensor when somebody asks, once, shared by all the views of them."""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from benchmark.errors import CheckpointError

# A view may repeat elements (stride 0). A few million repeated elements are a habit of some exporters; a tensor that is
# larger than this and larger than its own bytes is a claim made to exhaust memory.
REPEATED = 1 << 24
# What reading a damaged zip entry raises, by compression method and place of the damage.
ZIP_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, ValueError, EOFError, NotImplementedError, RuntimeError),
)
DIMENSIONS = 64  # torch's own limit


def itemsize(dtype: torch.dtype) -> int:
    """Bytes per element."""
    return torch.empty((), dtype=dtype, device="meta").element_size()


def broken(path: Path, what: str) -> CheckpointError:
    """The error for a file whose insides contradict themselves."""
    return CheckpointError(
        "an intact checkpoint",
        f"{path.name}: {what}",
        "download or copy it again; a file made to deceive is not opened",
    )


class MappedFile:
    """A file in memory by the operating system's paging: what is never read costs nothing."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size

    @cached_property
    def storage(self) -> torch.UntypedStorage:
        """The whole file, private to this process (writes do not reach the disk)."""
        made = torch.UntypedStorage.from_file(str(self.path), False, self.size)
        if not isinstance(made, torch.UntypedStorage):
            raise TypeError(f"torch mapped the file as {type(made).__name__}")
        return made


class Storage(ABC):
    """A run of bytes, `nbytes` long, in the byte order of this machine once `swap` is honoured.

    Args:
        path: the file, for messages.
        nbytes: length.
        swap: the element size's byte order is the other one.
    """

    def __init__(self, path: Path, nbytes: int, swap: bool = False) -> None:
        self.path, self.nbytes, self.swap = path, nbytes, swap
        self._made: dict[int, torch.UntypedStorage] = {}

    @abstractmethod
    def read(self, alignment: int) -> torch.UntypedStorage:
        """The bytes, at an address divisible by `alignment`."""

    def untyped(self, dtype: torch.dtype) -> torch.UntypedStorage:
        """The bytes as `dtype` needs them; the same object for every view."""
        width = itemsize(dtype)
        slot = width if self.swap else 0
        if slot not in self._made:
            made = self.read(8 if not self.swap else width)
            if self.swap and width > 1:
                made = made.clone()
                made.byteswap(dtype)
            self._made[slot] = made
        return self._made[slot]


class FileStorage(Storage):
    """Bytes that lie in the file as they are; `crc` is their CRC-32 where the format keeps one."""

    def __init__(self, file: MappedFile, offset: int, nbytes: int, swap: bool = False, crc: int | None = None) -> None:
        super().__init__(file.path, nbytes, swap)
        if offset < 0 or offset + nbytes > file.size:
            raise broken(file.path, f"a storage of {nbytes} bytes at {offset} ends after the file ({file.size} bytes)")
        self._file, self._offset, self._crc = file, offset, crc

    def read(self, alignment: int) -> torch.UntypedStorage:
        """The mapped bytes themselves, or a copy where their place in the file is not aligned."""
        if not self.nbytes:
            return torch.UntypedStorage(0)
        view = self._file.storage[self._offset : self._offset + self.nbytes]
        if self._crc is not None:
            raw = torch.empty(0, dtype=torch.uint8).set_(view, 0, (self.nbytes,), (1,))
            if zlib.crc32(raw.numpy().data) != self._crc:
                raise broken(self.path, f"a tensor's bytes at {self._offset} are damaged (their checksum differs)")
        return view if self._offset % alignment == 0 else view.clone()


class BytesStorage(Storage):
    """Bytes that a callable delivers: a compressed zip entry, an array inside a pickle."""

    def __init__(self, path: Path, nbytes: int, fetch: Callable[[], bytes], swap: bool = False) -> None:
        super().__init__(path, nbytes, swap)
        self._fetch = fetch

    def read(self, alignment: int) -> torch.UntypedStorage:
        """A copy of the bytes; memory from the allocator is aligned."""
        try:
            raw = self._fetch()
        except ZIP_DAMAGE as error:
            raise broken(self.path, f"a tensor's bytes cannot be read ({error})") from error
        if len(raw) < self.nbytes:
            raise broken(self.path, f"a tensor has {len(raw)} of its {self.nbytes} bytes")
        if not self.nbytes:
            return torch.UntypedStorage(0)
        return torch.frombuffer(bytearray(raw[: self.nbytes]), dtype=torch.uint8).untyped_storage()


class LazyTensor:
    """A tensor of a checkpoint before its bytes are read.

    Attributes:
        shape: sizes.
        dtype: element type.
    """

    __slots__ = ("_load", "dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, load: Callable[[], Tensor]) -> None:
        self.shape, self.dtype, self._load = shape, dtype, load

    def __repr__(self) -> str:
        return f"<{self.dtype} {self.shape}>"

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def load(self) -> Tensor:
        """The tensor on the CPU; views of one storage share it.

        Raises:
            CheckpointError: the bytes are missing or damaged.
        """
        return self._load()


def view(
    storage: Storage,
    dtype: torch.dtype,
    start: int,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    room: int,
) -> LazyTensor:
    """A strided tensor over a storage, after checking that it stays inside.

    Args:
        storage: the bytes.
        dtype: element type.
        start: first byte of the typed storage within `storage`.
        offset: first element.
        size: shape.
        stride: steps in elements.
        room: elements that the typed storage has.

    Raises:
        CheckpointError: sizes, strides and offset do not fit the storage.
    """
    width = itemsize(dtype)
    fits = len(size) == len(stride) <= DIMENSIONS and min((offset, start, room, *size, *stride)) >= 0
    fits = fits and start % width == 0 and start + room * width <= storage.nbytes
    if fits:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        count = math.prod(size)
        largest = math.prod(max(n, 1) for n in size)
        fits = largest < 1 << 62 and (last < room and count <= max(room, REPEATED) if count else True)
    if not fits:
        raise broken(
            storage.path,
            f"a tensor of size {_short(size)}, stride {_short(stride)} and offset {_short(offset)} "
            f"does not fit its storage of {room} elements",
        )

    def load() -> Tensor:
        if not math.prod(size):
            return torch.empty(size, dtype=dtype)
        return torch.empty(0, dtype=dtype).set_(storage.untyped(dtype), start // width + offset, size, stride)

    return LazyTensor(size, dtype, load)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."
