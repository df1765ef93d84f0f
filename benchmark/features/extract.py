"""The extraction loop: one pass of a split through a backbone, into the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.dataset import Split
from benchmark.errors import BackboneError, DataError
from benchmark.features.loader import Batch, batches
from benchmark.features.store import FeatureKey, FeatureSet, FeatureStore, chunk_range

OnBadImage = Literal["stop", "skip"]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Extraction:
    """What a call of `extract` gave.

    Attributes:
        features: the stored features.
        encoded: images that went through the backbone in this call (0 when all were stored).
        seconds: how long that took.
    """

    features: FeatureSet
    encoded: int
    seconds: float


def feature_key(backbone: Backbone, preprocessing: Preprocessing, split: Split) -> FeatureKey:
    """The store's key for a backbone's features of a split under a preprocessing."""
    return FeatureKey(
        weights=backbone.weights_hash,
        preprocessing=preprocessing.key(),
        precision=backbone.execution.precision,
        data=split.state,
        split=split.name,
        n=len(split),
    )


def extract(
    backbone: Backbone,
    split: Split,
    representations: Sequence[str],
    store: FeatureStore,
    *,
    preprocessing: Preprocessing | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    on_bad_image: OnBadImage = "stop",
    progress: Progress = lambda done, total, what: None,
) -> Extraction:
    """Makes sure that the store has `representations` of every image of `split`.

    Args:
        backbone: the encoder.
        split: the images.
        representations: names that the backbone has.
        store: where features are looked up and kept.
        preprocessing: the geometry to use; the backbone's own when None.
        batch_size: images per forward pass; halved by itself when the device runs out of memory.
        workers: decoding processes; one per core when None.
        on_bad_image: `stop` raises at the first batch with unreadable images, `skip` leaves them out and records them.
        progress: called with images done, images in all, what.

    Raises:
        DataError: unreadable images under `stop`, or no readable image at all.
        BackboneError: features that are not finite.
    """
    chosen = preprocessing or backbone.preprocessing
    wanted = list(dict.fromkeys(representations))

    def encode(images: Tensor) -> dict[str, Tensor]:
        features = backbone.encode(images, wanted, layers=0)
        return {name: features.global_(name) for name in wanted}

    key = feature_key(backbone, chosen, split)
    pin = backbone.execution.torch_device.type == "cuda"
    return fill(store, key, wanted, encode, split, chosen, batch_size, workers, on_bad_image, progress, pin)


def fill(
    store: FeatureStore,
    key: FeatureKey,
    wanted: Sequence[str],
    encode: Callable[[Tensor], dict[str, Tensor]],
    split: Split,
    chosen: Preprocessing,
    batch_size: int,
    workers: int | None,
    on_bad_image: OnBadImage,
    progress: Progress,
    pin: bool,
) -> Extraction:
    """What `extract` does, for any function from a batch (B, 3, H, W) to named rows (B, D)."""
    started, encoded = time.perf_counter(), 0
    with store.lock(key, lambda: progress(0, len(split), f"{split.name} (another run is encoding it)")):
        todo = {name: set(store.missing(key, name)) for name in wanted}
        chunks = sorted(set().union(*todo.values()))
        positions = [position for chunk in chunks for position in chunk_range(key.n, chunk, key.chunk_images)]
        total = len(positions)
        if positions:
            stream = batches(
                split.reader,
                chosen,
                positions,
                batch_size=batch_size,
                workers=workers,
                pin=pin,
            )
            rows = _encoded(encode, stream, on_bad_image)
            pending = _Pending(wanted)
            for chunk in chunks:
                indices = chunk_range(key.n, chunk, key.chunk_images)
                while pending.seen < len(indices):
                    part = next(rows)
                    pending.add(part)
                    encoded += part.seen
                    progress(encoded, total, split.name)
                features, skipped = pending.take(len(indices), indices)
                for name in wanted:
                    if chunk in todo[name]:
                        _write(store, key, name, chunk, features[name], skipped)
        features_set = store.open(key, wanted)
    if features_set.skipped and on_bad_image == "stop":  # stored by an earlier run that skipped them
        raise _unreadable(features_set.skipped)
    if len(features_set.skipped) == len(split):
        raise DataError("readable images", f"none of the {len(split)} of {split.name} can be read", "check the source")
    return Extraction(features_set, encoded, time.perf_counter() - started)


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
