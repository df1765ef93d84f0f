"""The images of a dataset and the encoder, for tasks that resize, crop and train on their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmark.backbones.backbone import Backbone
from benchmark.data.dataset import Dataset, Split
from benchmark.data.sample import chosen_images, learned_and_reported
from benchmark.errors import DataError
from benchmark.features.readable import unreadable
from benchmark.runner.cells import Cell, preprocessing_of
from benchmark.runner.encoded import Encoded
from benchmark.runner.models import ModelShelf
from benchmark.runner.plan import Plan
from benchmark.runner.pooled import InputsCache
from benchmark.runner.reporter import Reporter
from benchmark.task import ImageInputs, Inputs, ShiftInputs


def seen_images(plan: Plan, dataset: Dataset, limit: int | None, reporter: Reporter) -> Encoded:
    """The splits that a group of cells sees: where unreadable images are to be skipped, without them.

    Raises:
        DataError: no image of a split can be read.
    """
    splits = learned_and_reported(dataset, limit)
    if dataset.reported != "val" and "val" in dataset.splits:
        splits["val"] = dataset.splits["val"]
    if plan.request.on_bad_image == "stop":  # then the first one that comes up stops the run
        return Encoded(splits, {})
    skipped: dict[str, tuple[str, ...]] = {}
    for name, split in splits.items():
        with reporter.bar(f"looking for unreadable images of {dataset.name}", "images") as update:
            bad = unreadable(split.reader, plan.request.workers, name, update)
        if bad:
            skipped[name] = tuple(split.ids[position].as_py() for position in sorted(bad))
            splits[name] = _without(split, bad)
    return Encoded(splits, skipped)


def kept_images(encoded: Encoded) -> Encoded:
    """The images that have features, in the same order."""
    splits = dict(encoded.splits)
    for name, features in encoded.sets.items():
        if features.skipped:
            splits[name] = chosen_images(splits[name], features.kept, f"without {sorted(features.skipped)}")
    return Encoded(splits, encoded.skipped)


def _without(split: Split, bad: dict[int, str]) -> Split:
    good = np.setdiff1d(np.arange(len(split)), sorted(bad))
    if not len(good):
        found = f"none of the {len(split)} of {split.name} can be read"
        raise DataError("readable images", found, "check the source")
    return chosen_images(split, good, f"without {sorted(bad)}")


def scratch_of(plan: Plan, backbone: Backbone, dataset: Dataset, cell: Cell) -> Path:
    """The folder of a cell for what a stopped run goes on from; another one whenever the cell is another."""
    protocol = cell.planned.protocol
    facts = (
        backbone.weights_hash,
        preprocessing_of(backbone, protocol).key(),
        backbone.execution.precision,
        dataset.fingerprint,
        cell.planned.task.name,
        str(cell.planned.task.version),
        protocol.model_dump_json(),
        str(cell.seed),
    )
    digest = hashlib.blake2b("|".join(facts).encode(), digest_size=16).hexdigest()
    return plan.request.cache / "training" / digest


class ImageInputsOf:
    """Inputs of the tasks that read images; nothing of them is in memory, so there is nothing to share."""

    def __init__(self, plan: Plan, shelf: ModelShelf, dataset: Dataset, seen: Encoded) -> None:
        self._plan, self._shelf, self._dataset, self._seen = plan, shelf, dataset, seen

    def __call__(self, cell: Cell, progress: Callable[[int, int, str], None]) -> ImageInputs:
        """The inputs of a cell."""
        backbone, protocol = self._shelf.open(cell.card), cell.planned.protocol
        splits = self._seen.splits
        return ImageInputs(
            dataset=self._dataset.name,
            train=splits.get("train", self._dataset.splits["train"]),  # where nothing of it was encoded
            test=splits[self._dataset.reported],
            val=splits.get("val") if self._dataset.reported != "val" else None,
            shifted=splits.get("shifted", self._dataset.splits.get("shifted")),
            classes=self._dataset.classes_of(cell.planned.task.learns),
            backbone=self._shelf.under(cell.card, preprocessing_of(backbone, protocol)),
            device=self._plan.device,
            scratch=scratch_of(self._plan, backbone, self._dataset, cell),
            batch_size=self._plan.request.batch_size,
            workers=self._plan.request.workers,
            progress=progress,
        )


class ShiftInputsOf:
    """Inputs of the tasks on pooled features; for those that ask for images too, both."""

    def __init__(self, features: InputsCache, images: ImageInputsOf) -> None:
        self._features, self._images = features, images

    def __call__(self, cell: Cell, progress: Callable[[int, int, str], None]) -> Inputs | ShiftInputs:
        """The inputs of a cell."""
        features = self._features(cell, progress)
        if "backbone" not in cell.planned.needs:
            return features
        return ShiftInputs(features, self._images(cell, progress))
