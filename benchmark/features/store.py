"""The feature store: memory-mapped float16 chunks with checksums, shared between tasks, runs and processes.

    CACHE/features/<digest>/manifest.json               what the features are of, for people
    CACHE/features/<digest>/<representation>/00007.npy   (rows, D) float16
    CACHE/features/<digest>/<representation>/00007.json  rows, scale, checksum, skipped images: written last

A chunk counts once its JSON is there and its checksum agrees; anything else is made again. Any file can be deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from benchmark.files import write_atomically, write_bytes

EXTRACTION_VERSION = 1
"""Raised when the same weights, preprocessing and images would give other features than before."""

CHUNK_IMAGES = 1024
"""Images per chunk: what a kill can cost at most."""


@dataclass(frozen=True)
class FeatureKey:
    """What stored features depend on, and in what pieces; representations live side by side under one key."""

    weights: str
    preprocessing: str
    precision: str
    data: str
    split: str
    n: int
    extraction: int = EXTRACTION_VERSION
    chunk_images: int = field(default_factory=lambda: CHUNK_IMAGES)

    @property
    def digest(self) -> str:
        """The folder's name."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class ChunkRecord(BaseModel):
    """The sidecar of a chunk.

    Attributes:
        rows: images stored; skipped ones have no row.
        dim: D.
        log2_scale: stored = feature * 2**log2_scale, exact in float16's range whatever the features' magnitude.
        checksum: blake2b of the array's bytes.
        skipped: positions within the split of images that could not be read, with the reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    dim: int
    log2_scale: int
    checksum: str
    skipped: dict[int, str]


@dataclass(frozen=True)
class FeatureSet:
    """The stored features of one split for some representations, complete.

    Attributes:
        folder: where the chunks are.
        n: images of the split, skipped ones included.
        skipped: position -> reason, for images left out.
        chunk_images: images per chunk.
    """

    folder: Path
    n: int
    skipped: dict[int, str]
    chunk_images: int = field(default_factory=lambda: CHUNK_IMAGES)

    @property
    def kept(self) -> np.ndarray:
        """(N,) int64 positions within the split of the images that have a row, ascending."""
        mask = np.ones(self.n, dtype=bool)
        mask[list(self.skipped)] = False
        return np.flatnonzero(mask)

    def load(self, representation: str, device: torch.device | str = "cpu") -> Tensor:
        """(N, D) float32 features on `device`, chunk by chunk from the memory maps."""
        out: Tensor | None = None
        at = 0
        for array, record in self.chunks(representation):
            if out is None:
                out = torch.empty(len(self.kept), record.dim, dtype=torch.float32, device=device)
            part = torch.from_numpy(np.array(array)).to(device).float()  # a copy: maps are read-only
            out[at : at + record.rows] = part * math.ldexp(1.0, -record.log2_scale)
            at += record.rows
        if out is None or at != len(out):
            raise RuntimeError(f"{self.folder}: the chunks of {representation} hold {at} rows, not {len(self.kept)}")
        return out

    def chunks(self, representation: str) -> Iterator[tuple[np.ndarray, ChunkRecord]]:
        """The (rows, D) float16 memory map and the record of each chunk that has rows, in order."""
        for chunk in range(chunk_count(self.n, self.chunk_images)):
            array, record = _open_chunk(self.folder / representation, chunk)
            if record.rows:  # else every image of the chunk was skipped
                yield array, record


def chunk_count(n: int, size: int = CHUNK_IMAGES) -> int:
    """How many chunks of `size` images `n` images make."""
    return -(-n // size)


def chunk_range(n: int, chunk: int, size: int = CHUNK_IMAGES) -> range:
    """Positions of the images of a chunk."""
    return range(chunk * size, min(n, (chunk + 1) * size))


class FeatureStore:
    """Stored features under one cache folder."""

    def __init__(self, cache: Path) -> None:
        self.root = cache / "features"

    def folder(self, key: FeatureKey) -> Path:
        """Where the features of `key` are or will be."""
        return self.root / key.digest

    def missing(self, key: FeatureKey, representation: str) -> list[int]:
        """Chunks that are absent, damaged or of another size than their record says."""
        folder = self.folder(key) / representation
        chunks = range(chunk_count(key.n, key.chunk_images))
        if not folder.is_dir():
            return list(chunks)
        return [
            chunk for chunk in chunks if not _intact(folder, chunk, len(chunk_range(key.n, chunk, key.chunk_images)))
        ]

    def write(
        self, key: FeatureKey, representation: str, chunk: int, features: Tensor, skipped: dict[int, str]
    ) -> None:
        """Stores a chunk's (rows, D) float32 features.

        Raises:
            ValueError: the features are not finite, or their number does not fit the chunk.
        """
        if len(features) + len(skipped) != len(chunk_range(key.n, chunk, key.chunk_images)):
            raise ValueError(f"chunk {chunk} has {len(features)} rows and {len(skipped)} skipped images")
        if not bool(torch.isfinite(features).all()):
            raise ValueError(f"chunk {chunk} of {representation} has features that are not finite")
        shift = _shift(features)
        array = (features.double() * math.ldexp(1.0, shift)).to(torch.float16).cpu().contiguous().numpy()
        folder = self.folder(key)
        manifest = folder / "manifest.json"
        if not manifest.exists():
            write_bytes(manifest, (json.dumps(asdict(key), indent=1) + "\n").encode())
        record = ChunkRecord(
            rows=len(array), dim=array.shape[1], log2_scale=shift, checksum=_checksum(array), skipped=skipped
        )
        write_atomically(
            _npy(folder / representation, chunk), lambda stream: np.save(stream, array, allow_pickle=False)
        )
        write_bytes(_json(folder / representation, chunk), record.model_dump_json(indent=1).encode())

    def open(self, key: FeatureKey, representations: Sequence[str]) -> FeatureSet:
        """The complete features of `key`; call after `missing` said that nothing is.

        Raises:
            RuntimeError: representations disagree about which images were skipped.
        """
        folder = self.folder(key)
        seen: dict[int, str] | None = None
        for representation in representations:
            skipped: dict[int, str] = {}
            for chunk in range(chunk_count(key.n, key.chunk_images)):
                skipped |= _read_record(_json(folder / representation, chunk)).skipped
            if seen is not None and set(seen) != set(skipped):
                raise RuntimeError(f"{folder}: representations disagree about skipped images; delete the folder")
            seen = skipped
        return FeatureSet(folder, key.n, seen or {}, key.chunk_images)

    @contextlib.contextmanager
    def lock(self, key: FeatureKey, waiting: Callable[[], None]) -> Iterator[None]:
        """One process fills a key at a time; others call `waiting` and wait, then find the work done."""
        folder = self.folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _shift(features: Tensor) -> int:
    """Power of two that brings the largest magnitude to about 2**10: no overflow, 24 binades left below it."""
    if features.numel() == 0:
        return 0
    largest = float(features.abs().max())
    return 0 if largest == 0.0 else 10 - math.frexp(largest)[1]


def _npy(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:05d}.npy"


def _json(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:05d}.json"


def _checksum(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


def _read_record(path: Path) -> ChunkRecord:
    return ChunkRecord.model_validate_json(path.read_bytes())


def _open_chunk(folder: Path, chunk: int) -> tuple[np.ndarray, ChunkRecord]:
    record = _read_record(_json(folder, chunk))
    array = np.load(_npy(folder, chunk), mmap_mode="r" if record.rows else None, allow_pickle=False)
    return array, record


def _intact(folder: Path, chunk: int, expected: int) -> bool:
    try:
        array, record = _open_chunk(folder, chunk)
    except (OSError, ValueError, ValidationError, EOFError):
        return False  # absent, truncated or not what numpy wrote: made again
    return (
        array.dtype == np.float16
        and array.shape == (record.rows, record.dim)
        and record.rows + len(record.skipped) == expected
        and _checksum(array) == record.checksum
    )
