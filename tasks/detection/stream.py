"""Images in the order of a training, which its seed decides: a training that goes on sees what it would have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from benchmark.data.dataset import Split
from benchmark.errors import DataError
from benchmark.features.workers import decoded, default_workers, quiet_worker
from tasks.detection.views import Views, draw_of

Sample = tuple[int, int]
"""(the number of the sample within the training, the index of its image)."""


def learnable(split: Split) -> np.ndarray:
    """Indices of the images that have an object: the others teach a detector nothing that these do not.

    Raises:
        DataError: none has.
    """
    assert split.objects is not None
    found = np.array([index for index in range(len(split)) if split.objects.count(index)], np.int64)
    if not len(found):
        raise DataError("objects to learn from", f"none in the {len(split)} images of {split.name}", "check the source")
    return found


def batches_of(split: Split, batch: int, seed: int) -> Iterator[list[Sample]]:
    """Batches without end: every image once per epoch, wide ones with wide ones and tall ones with tall ones.

    Images of one orientation need less padding (mmdet's and detectron2's AspectRatioGroupedDataset). What is left of
    an orientation when an epoch ends begins its first batch of the next.

    Args:
        split: the images.
        batch: of how many.
        seed: of the order.
    """
    assert split.objects is not None
    images = learnable(split)
    sizes = np.array([split.objects.size(int(index)) for index in images])
    wide = sizes[:, 1] >= sizes[:, 0]
    rng = np.random.default_rng([seed, 1])
    waiting: tuple[list[int], list[int]] = ([], [])
    number = 0
    while True:
        for place in rng.permutation(len(images)).tolist():
            group = waiting[int(wide[place])]
            group.append(int(images[place]))
            if len(group) == batch:
                yield [(number + offset, index) for offset, index in enumerate(group)]
                number += batch
                group.clear()


class _Items(TorchDataset[Any]):
    """What a worker does; an error comes back as a value, to be raised whole where it is read."""

    def __init__(self, views: Views, seed: int | None) -> None:
        self.views, self.seed = views, seed

    def __len__(self) -> int:
        return len(self.views.split)

    def __getitem__(self, sample: Sample) -> dict[str, Any] | DataError:
        number, index = sample
        try:
            if self.seed is None:
                return self.views.test(index)
            return self.views.training(index, draw_of(self.seed, number))
        except DataError as error:
            return error


def _collated(items: Sequence[dict[str, Any] | DataError]) -> dict[str, list[Any]] | DataError:
    """Lists of inputs and samples; images of different sizes are padded on the device."""
    batch: dict[str, list[Any]] = {"inputs": [], "data_samples": []}
    for item in items:
        if isinstance(item, DataError):
            return item
        for name, values in batch.items():
            values.append(item[name])
    return batch


def training_batches(
    views: Views, batch: int, seed: int, workers: int | None, iteration: int
) -> Iterator[dict[str, Any]]:
    """The batches of a training from an iteration on, without end.

    Raises:
        DataError: an image or annotation that cannot be read.
    """
    order = islice(batches_of(views.split, batch, seed), iteration, None)
    yield from _loaded(_Items(views, seed), order, workers)


def test_batches(views: Views, workers: int | None) -> Iterator[dict[str, Any]]:
    """All images of a split in order, one by one: padding beside a larger image would change what is found.

    Raises:
        DataError: an image that cannot be read.
    """
    yield from _loaded(_Items(views, None), ([(index, index)] for index in range(len(views.split))), workers)


def _loaded(items: _Items, order: Iterator[list[Sample]], workers: int | None) -> Iterator[dict[str, Any]]:
    count = default_workers() if workers is None else workers
    for found in decoded(items, count, start=_start, batch_sampler=_Order(order), collate_fn=_collated):
        if isinstance(found, DataError):
            raise found
        yield found


class _Order(torch.utils.data.Sampler[list[Sample]]):
    """Batches of samples, as a sampler."""

    def __init__(self, batches: Iterator[list[Sample]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[Sample]]:
        return self.batches


def _start(worker: int) -> None:
    quiet_worker(worker)
    cv2.setNumThreads(0)  # one pool of threads per worker would fight over the cores
