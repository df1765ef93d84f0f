"""Small synthetic features for tests of tasks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from benchmark.task import Inputs, Labels, SplitFeatures


def split_of(features: np.ndarray, targets: np.ndarray, prefix: str) -> SplitFeatures:
    return SplitFeatures(
        torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)),
        torch.from_numpy(targets.astype(np.float32 if targets.ndim == 2 else np.int64)),
        pa.array([f"{prefix}/{index:05d}" for index in range(len(features))]),
    )


def inputs_of(train: SplitFeatures, test: SplitFeatures, classes: int, **more) -> Inputs:
    return Inputs(
        dataset=more.pop("dataset", "blobs"),
        train=train,
        test=test,
        classes=tuple(f"class{index}" for index in range(classes)),
        device=train.features.device,
        multilabel=train.targets.ndim == 2,
        **more,
    )


def blobs(
    classes: int = 6, train: int = 40, test: int = 25, dim: int = 16, noise: float = 1.4, seed: int = 0, **more
) -> Inputs:
    """Overlapping Gaussian classes off the origin, `train` and `test` images of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim)) + 0.5
    splits = []
    for size, prefix in ((train, "train"), (test, "test")):
        targets = rng.permutation(np.repeat(np.arange(classes), size))
        splits.append(split_of(centres[targets] + noise * rng.normal(size=(len(targets), dim)), targets, prefix))
    return inputs_of(*splits, classes, **more)


def tagged(classes: int = 5, train: int = 200, test: int = 120, dim: int = 16, seed: int = 0, **more) -> Inputs:
    """Multi-label data: each class pulls the features its way."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(classes, dim))
    splits = []
    for size, prefix in ((train, "train"), (test, "test")):
        targets = (rng.random((size, classes)) < np.linspace(0.1, 0.4, classes)).astype(np.float32)
        splits.append(split_of(targets @ directions + rng.normal(size=(size, dim)), targets, prefix))
    return inputs_of(*splits, classes, **more)


def shuffled(inputs: Inputs, seed: int = 1) -> Inputs:
    """The same data in another order."""
    rng = np.random.default_rng(seed)

    def reorder(split: SplitFeatures) -> SplitFeatures:
        index = rng.permutation(len(split))
        return SplitFeatures(split.features[index], split.targets[index], split.ids.take(pa.array(index)))

    return Inputs(**{**vars(inputs), "train": reorder(inputs.train), "test": reorder(inputs.test)})


def by_sample(table: pa.Table, column: str, variant: str | None = None) -> np.ndarray:
    """A column in the order of sample ids, of one variant."""
    rows = table.to_pylist()
    chosen = [row for row in rows if variant is None or row["variant"] == variant]
    return np.array([row[column] for row in sorted(chosen, key=lambda row: (row.get("draw", 0), row["sample"]))])


def labels_of(inputs: Inputs) -> Labels:
    """What is known of a world before any image is encoded."""
    train, reported = (split.targets.numpy() for split in (inputs.train, inputs.test))
    return Labels(train, reported, inputs.classes, inputs.multilabel)
