"""A few images of a split, as a split of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmark.data.annotations import MaskReader
from benchmark.data.dataset import Dataset, ImageReader, Split
from benchmark.data.fingerprint import combine
from benchmark.errors import DataError


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


def first_drawn(split: Split, n: int | None) -> Split:
    """At most `n` images: those first in the order of a digest of their ids, so the same ones wherever the data is."""
    if n is None or n >= len(split):
        return split
    tickets = np.array([hashlib.blake2b(key.encode(), digest_size=8).hexdigest() for key in split.ids.to_pylist()])
    chosen = np.sort(np.argsort(tickets, kind="stable")[:n])
    places = tuple(chosen.tolist())
    return Split(
        name=split.name,
        ids=split.ids.take(pa.array(chosen)),
        targets=split.targets[chosen],
        reader=_Chosen(split.reader, places),
        fingerprint=combine([split.fingerprint, f"first {n}"]),
        state=combine([split.state, f"first {n}"]),
        masks=None if split.masks is None else _ChosenMasks(split.masks, places),
    )


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
