"""The stored features of a dataset, made where they are missing and handed to tasks as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import torch

from benchmark.backbones.backbone import Backbone
from benchmark.data.dataset import Dataset
from benchmark.errors import DataError
from benchmark.features.extract import extract
from benchmark.features.filling import Extraction
from benchmark.features.store import FeatureSet, FeatureStore
from benchmark.runner.cells import Cell, preprocessing_of, representation_of
from benchmark.runner.encoded import Encoded
from benchmark.runner.passes import read_splits
from benchmark.runner.plan import Plan
from benchmark.runner.reporter import Reporter
from benchmark.task import Inputs, SplitFeatures


def pooled_features(
    plan: Plan, backbone: Backbone, dataset: Dataset, cells: Sequence[Cell], reporter: Reporter
) -> Encoded:
    """The features that the cells need, extracted where they are not stored."""
    preprocessing = preprocessing_of(backbone, cells[0].planned.protocol)
    wanted = [representation_of(backbone, cell.planned.protocol) for cell in cells]
    store = FeatureStore(plan.request.cache)
    done: dict[str, Extraction] = {}
    splits = {split.name: split for split in read_splits(dataset, cells)}
    for split in splits.values():
        with reporter.bar(f"{cells[0].card.name} · {dataset.name}", "images") as update:
            done[split.name] = extract(
                backbone,
                split,
                wanted,
                store,
                preprocessing=preprocessing,
                batch_size=plan.request.batch_size,
                workers=plan.request.workers,
                on_bad_image=plan.request.on_bad_image,
                progress=update,
            )
    return Encoded.of(splits, done)


class InputsCache:
    """Inputs of the tasks, loaded once per representation and shared by the cells of a group."""

    def __init__(self, plan: Plan, backbone: Backbone, dataset: Dataset, encoded: Encoded) -> None:
        self._plan, self._backbone, self._dataset, self._encoded = plan, backbone, dataset, encoded
        self._loaded: tuple[str, dict[str, SplitFeatures]] | None = None

    def __call__(self, cell: Cell, progress: Callable[[int, int, str], None]) -> Inputs:
        """The inputs of a cell."""
        representation = representation_of(self._backbone, cell.planned.protocol)
        if self._loaded is None or self._loaded[0] != representation:
            self._loaded = None  # free the old representation first
            self._loaded = (
                representation,
                {
                    name: _split_features(self._dataset, name, features, representation, self._plan.device)
                    for name, features in self._encoded.sets.items()
                },
            )
        splits = self._loaded[1]
        dataset = self._dataset
        own_val = splits.get("val") if dataset.reported != "val" else None
        return Inputs(
            dataset=dataset.name,
            train=splits.get("train", SplitFeatures.none(self._plan.device)),
            test=splits[dataset.reported],
            val=own_val,
            classes=dataset.classes,
            device=self._plan.device,
            multilabel=dataset.multilabel,
            head=self._backbone.head,
            representation=representation,
            shifted=splits.get("shifted"),
            shift=dataset.shift,
            progress=progress,
        )


def _split_features(
    dataset: Dataset, name: str, features: FeatureSet, representation: str, device: torch.device
) -> SplitFeatures:
    split = dataset.splits[name]
    kept = features.kept
    targets = np.asarray(split.targets)[kept]
    if name == "train" and not dataset.multilabel:
        absent = sorted(set(range(len(dataset.classes))) - set(np.unique(targets).tolist()))
        if absent:
            raise DataError(
                "a readable training image of every class",
                f"none of {', '.join(dataset.classes[index] for index in absent[:5])} after skipping",
                "mend the images",
            )
    tensor = torch.from_numpy(targets).to(device)
    return SplitFeatures(
        features=features.load(representation, device),
        targets=tensor.float() if targets.ndim == 2 else tensor.long(),
        ids=split.ids.take(pa.array(kept)),
    )
