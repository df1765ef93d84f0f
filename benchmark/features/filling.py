"""Filling the store: batches of a split through a function, into chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.dataset import Split
from benchmark.errors import BackboneError, DataError
from benchmark.features.loader import Batch, batches
from benchmark.features.store import FeatureKey, FeatureSet, FeatureStore, chunk_range

OnBadImage = Literal["stop", "skip"]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Extraction:
    """What an extraction gave.

    Attributes:
        features: the stored features.
        encoded: images that went through the backbone in this call (0 when all were stored).
        seconds: how long that took.
    """

    features: FeatureSet
    encoded: int
    seconds: float


@dataclass(frozen=True)
class Filling:
    """A split whose rows a store is to have.

    Attributes:
        store, key: where they go.
        wanted: their names.
        encode: (B, 3, H, W) uint8 -> named rows (B, D).
        split: the images.
        preprocessing: the geometry.
        batch_size, workers, on_bad_image, progress: as for `extract`.
        pin: for copies to a GPU.
    """

    store: FeatureStore
    key: FeatureKey
    wanted: Sequence[str]
    encode: Callable[[Tensor], dict[str, Tensor]]
    split: Split
    preprocessing: Preprocessing
    batch_size: int
    workers: int | None
    on_bad_image: OnBadImage
    progress: Progress
    pin: bool

    def fill(self) -> Extraction:
        """Makes sure that the store has every chunk, and opens them.

        Raises:
            DataError: unreadable images under `stop`, or no readable image at all.
            BackboneError: rows that are not finite.
        """
        started, split = time.perf_counter(), self.split
        with self.store.lock(self.key, self._waiting):
            encoded = self._make()
            features = self.store.open(self.key, self.wanted)
        if features.skipped and self.on_bad_image == "stop":  # stored by an earlier run that skipped them
            raise _unreadable(features.skipped)
        if len(features.skipped) == len(split):
            found = f"none of the {len(split)} of {split.name} can be read"
            raise DataError("readable images", found, "check the source")
        return Extraction(features, encoded, time.perf_counter() - started)

    def _waiting(self) -> None:
        self.progress(0, len(self.split), f"{self.split.name} (another run is encoding it)")

    def _make(self) -> int:
        """Encodes what is missing; the number of images."""
        key, store, encoded = self.key, self.store, 0
        todo = {name: set(store.missing(key, name)) for name in self.wanted}
        chunks = sorted(set().union(*todo.values()))
        positions = [position for chunk in chunks for position in chunk_range(key.n, chunk, key.chunk_images)]
        if not positions:
            return 0
        stream = batches(
            self.split.reader,
            self.preprocessing,
            positions,
            batch_size=self.batch_size,
            workers=self.workers,
            pin=self.pin,
        )
        rows = _encoded(self.encode, stream, self.on_bad_image)
        pending = _Pending(self.wanted)
        for chunk in chunks:
            indices = chunk_range(key.n, chunk, key.chunk_images)
            while pending.seen < len(indices):
                part = next(rows)
                pending.add(part)
                encoded += part.seen
                self.progress(encoded, len(positions), self.split.name)
            features, skipped = pending.take(len(indices), indices)
            for name in self.wanted:
                if chunk in todo[name]:
                    _write(store, key, name, chunk, features[name], skipped)
        return encoded


@dataclass(frozen=True)
class _Rows:
    """Features of a batch: rows of good images with their positions, and the bad ones."""

    features: dict[str, Tensor]
    positions: list[int]
    bad: dict[int, str]

    @property
    def seen(self) -> int:
        return len(self.positions) + len(self.bad)


def _encoded(
    encode: Callable[[Tensor], dict[str, Tensor]], stream: Iterator[Batch], on_bad_image: OnBadImage
) -> Iterator[_Rows]:
    for batch in stream:
        if batch.bad and on_bad_image == "stop":
            raise _unreadable(batch.bad)
        if len(batch.positions):
            yield _Rows(encode(batch.images), batch.positions, batch.bad)
        else:
            yield _Rows({}, [], batch.bad)


def _unreadable(bad: dict[int, str]) -> DataError:
    shown = "; ".join(list(bad.values())[:5]) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else "")
    return DataError(
        "readable images",
        f"{len(bad)} unreadable so far: {shown}",
        "mend or remove them, or pass --on-bad-image skip to leave them out and have that recorded",
    )


class _Pending:
    """Rows that are encoded and not yet in a chunk."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.rows: dict[str, list[Tensor]] = {name: [] for name in names}
        self.positions: list[int] = []
        self.bad: dict[int, str] = {}

    @property
    def seen(self) -> int:
        return len(self.positions) + len(self.bad)

    def add(self, part: _Rows) -> None:
        for name, features in part.features.items():
            self.rows[name].append(features)
        self.positions += part.positions
        self.bad |= part.bad

    def take(self, n: int, indices: range) -> tuple[dict[str, Tensor], dict[int, str]]:
        """Removes and returns the rows of the chunk that covers `indices` (its `n` images are all here)."""
        skipped = {position: reason for position, reason in self.bad.items() if position in indices}
        good = n - len(skipped)
        if self.positions[:good] != [position for position in indices if position not in skipped]:
            raise RuntimeError("images came back in another order than they were asked for")
        taken: dict[str, Tensor] = {}
        for name in self.names:
            joined = torch.cat(self.rows[name]) if self.rows[name] else torch.empty(0, 0)
            taken[name], rest = joined[:good], joined[good:]
            self.rows[name] = [rest] if len(rest) else []
        self.positions = self.positions[good:]
        self.bad = {position: reason for position, reason in self.bad.items() if position not in skipped}
        return taken, skipped


def _write(
    store: FeatureStore, key: FeatureKey, name: str, chunk: int, features: Tensor, skipped: dict[int, str]
) -> None:
    try:
        store.write(key, name, chunk, features, skipped)
    except ValueError as error:
        raise BackboneError("finite features", str(error), "check the weights and the preprocessing") from error
