"""The reported images that a protocol asks about, with what the head says of them as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.data.sample import chosen_images, digest_order
from benchmark.errors import DataError
from benchmark.features.loader import batches
from benchmark.task import ShiftInputs


@dataclass(frozen=True)
class Asked:
    """N reported images.

    Attributes:
        rows: (N,) their places among the reported features, ascending.
        split: the images themselves, in that order.
        targets: (N,) int64.
        features: (N, D) of the images as they are.
    """

    rows: np.ndarray
    split: Split
    targets: np.ndarray
    features: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> pa.Array:
        """(N,) Arrow strings."""
        return self.split.ids


def first_rows(ids: pa.Array, n: int | None) -> np.ndarray:
    """(M,) the places of all images, or of the `n` that are first in the order of a digest of their ids; ascending."""
    if n is None or n >= len(ids):
        return np.arange(len(ids))
    return np.sort(digest_order(ids)[:n])


def asked_of(inputs: ShiftInputs, n: int | None) -> Asked:
    """All reported images, or `n` of them, see `first_rows`."""
    test = inputs.features.test
    rows = first_rows(test.ids, n)
    split = images_at(inputs.images.test, test.ids, rows, "reported")
    features = test.features[torch.from_numpy(rows).to(test.features.device)]
    return Asked(rows, split, test.targets.cpu().numpy()[rows], features)


def images_at(split: Split, ids: pa.Array, rows: np.ndarray, why: str) -> Split:
    """The images at some places, checked to be those that features were made of.

    Args:
        split: of which.
        ids: of all its features, in their order.
        rows: ascending places.
        why: see `chosen_images`.
    """
    chosen = chosen_images(split, rows, why)
    if chosen.ids.to_pylist() != ids.take(pa.array(rows)).to_pylist():
        raise RuntimeError("images and features of another order")
    return chosen


def pixels_of(inputs: ShiftInputs, split: Split, batch_size: int | None = None) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Batches of a split as the encoder's preprocessing resizes and crops them.

    Yields:
        (B, 3, H, W) uint8 on the device of the run, and their (B,) places in the split.

    Raises:
        DataError: an image that cannot be read.
    """
    images = inputs.images
    for batch in batches(
        split.reader,
        images.backbone.preprocessing,
        range(len(split)),
        batch_size=batch_size or images.batch_size,
        workers=images.workers,
        pin=images.device.type == "cuda",
    ):
        if batch.bad:
            found = next(iter(batch.bad.values()))
            raise DataError("readable images", found, "mend it, or pass --on-bad-image skip")
        yield batch.images.to(images.device), np.array(batch.positions)
