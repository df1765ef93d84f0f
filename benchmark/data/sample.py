"""A few images of a split, as a split of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmark.data.annotations import MaskReader, ObjectReader, Objects
from benchmark.data.dataset import Dataset, ImageReader, Split
from benchmark.data.fingerprint import combine
from benchmark.errors import DataError


@runtime_checkable
class _Divisible(Protocol):
    """A reader that can leave the rest of its images behind."""

    def chosen(self, positions: np.ndarray) -> ImageReader: ...


@dataclass(frozen=True)
class _Chosen:
    """The images at some positions of another reader."""

    reader: ImageReader
    positions: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, index: int) -> Image.Image:
        return self.reader.read(self.positions[index])


@dataclass(frozen=True)
class _ChosenMasks:
    """The masks at some positions of another reader."""

    reader: MaskReader
    positions: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.positions)

    def mask(self, index: int) -> np.ndarray:
        return self.reader.mask(self.positions[index])


@dataclass(frozen=True)
class _ChosenObjects:
    """The objects at some positions of another reader."""

    reader: ObjectReader
    positions: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.positions)

    def size(self, index: int) -> tuple[int, int]:
        return self.reader.size(self.positions[index])

    def count(self, index: int) -> int:
        return self.reader.count(self.positions[index])

    def objects(self, index: int) -> Objects:
        return self.reader.objects(self.positions[index])


def chosen_images(split: Split, positions: Sequence[int] | np.ndarray, why: str) -> Split:
    """The images at some positions, with all that is known of them.

    Args:
        split: of which.
        positions: each once, in the order wanted.
        why: in a few words that tell one choice from another; part of the fingerprints.
    """
    places = tuple(int(position) for position in positions)
    index = np.array(places, np.int64)
    return Split(
        name=split.name,
        ids=split.ids.take(pa.array(index)),
        targets=split.targets[index],
        reader=split.reader.chosen(index) if isinstance(split.reader, _Divisible) else _Chosen(split.reader, places),
        fingerprint=combine([split.fingerprint, why]),
        state=combine([split.state, why]),
        masks=None if split.masks is None else _ChosenMasks(split.masks, places),
        objects=None if split.objects is None else _ChosenObjects(split.objects, places),
    )


def digest_order(ids: pa.Array) -> np.ndarray:
    """(N,) positions in the order of a digest of the ids: a shuffle that is the same wherever the data is."""
    tickets = np.array([hashlib.blake2b(key.encode(), digest_size=8).hexdigest() for key in ids.to_pylist()])
    return np.argsort(tickets, kind="stable")


def first_drawn(split: Split, n: int | None) -> Split:
    """At most `n` images: those first in the order of a digest of their ids, so the same ones wherever the data is."""
    if n is None or n >= len(split):
        return split
    return chosen_images(split, np.sort(digest_order(split.ids)[:n]), f"first {n}")


def learned_and_reported(dataset: Dataset, train_images: int | None) -> dict[str, Split]:
    """Train, with `train_images` images at most, and the reported split."""
    splits = dataset.splits
    return {"train": first_drawn(splits["train"], train_images), dataset.reported: splits[dataset.reported]}


def balanced_sample(split: Split, n: int, per_class: int, seed: int = 0) -> Split:
    """About `n` images, equally many of each class: of all classes where `per_class` of each can be had within `n`,
    else of as many classes, drawn at random. Targets keep their class indices.

    Raises:
        DataError: multi-label data, or fewer than two classes with two images or more.
    """
    if split.targets.ndim != 1:
        raise DataError("one label per image", f"a multi-label {split.name} split", "choose another dataset")
    rng = np.random.default_rng(seed)
    places = {int(c): rng.permutation(np.flatnonzero(split.targets == c)) for c in np.unique(split.targets)}
    usable = [c for c in rng.permutation(list(places)) if len(places[int(c)]) >= 2]
    if len(usable) < 2:
        raise DataError("two classes of two images or more", f"{len(usable)} in {split.name}", "give more images")
    classes = usable[: max(2, n // per_class)]
    each = max(2, n // len(classes))
    chosen = np.sort(np.concatenate([places[int(c)][:each] for c in classes]))
    name = f"{split.name}-sample"
    digest = combine([str(n), str(per_class), str(seed)])
    return Split(
        name=name,
        ids=split.ids.take(pa.array(chosen)),
        targets=split.targets[chosen],
        reader=_Chosen(split.reader, tuple(chosen.tolist())),
        fingerprint=combine([split.fingerprint, digest]),
        state=combine([split.state, digest]),
    )
