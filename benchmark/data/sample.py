"""A few images of a split, as a split of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmark.data.dataset import ImageReader, Split
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
