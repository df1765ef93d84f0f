"""The stored patch maps of a dataset, made where they are missing and handed to tasks beside its masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.dataset import Dataset, Split
from benchmark.data.sample import learned_and_reported
from benchmark.features.filling import Extraction
from benchmark.features.maps import extract_maps, map_shapes, open_maps
from benchmark.features.masks import read_masks
from benchmark.features.store import FeatureSet, FeatureStore
from benchmark.protocol import DenseSettings
from benchmark.runner.cells import Cell
from benchmark.runner.encoded import Encoded
from benchmark.runner.models import ModelShelf
from benchmark.runner.passes import most_layers
from benchmark.runner.plan import Plan
from benchmark.runner.reporter import Reporter
from benchmark.task import DenseInputs, DenseSplit


def patch_maps(
    plan: Plan,
    shelf: ModelShelf,
    preprocessing: Preprocessing,
    dataset: Dataset,
    cells: Sequence[Cell],
    reporter: Reporter,
) -> tuple[Encoded, DenseInputsCache]:
    """The maps that the cells need, extracted where they are not stored, and the inputs of each cell.

    Raises:
        DataError: unreadable images (unless they are to be skipped), or a mask that is not what it should be.
    """
    card, protocol = cells[0].card, cells[0].planned.protocol
    assert isinstance(protocol, DenseSettings)
    backbone = shelf.under(card, preprocessing)
    shapes = map_shapes(backbone, most_layers(cells))
    store, splits = FeatureStore(plan.request.cache), learned_and_reported(dataset, protocol.train_images)
    done: dict[str, Extraction] = {}
    for name, split in splits.items():
        with reporter.bar(f"{card.name} · {dataset.name}", "images") as update:
            done[name] = extract_maps(
                backbone,
                split,
                tuple(shapes),
                store,
                batch_size=plan.request.batch_size,
                workers=plan.request.workers,
                on_bad_image=plan.request.on_bad_image,
                progress=update,
            )
    for name, split in splits.items():
        _check_masks(plan, split, done[name].features, reporter)
    found = Encoded.of(splits, done)
    return found, DenseInputsCache(plan, backbone, dataset, found, shapes)


def _check_masks(plan: Plan, split: Split, features: FeatureSet, reporter: Reporter) -> None:
    """Reads every mask once, so that a wrong one stops the run as a wrong image does, not cell by cell."""
    assert split.masks is not None
    kept = features.kept
    with reporter.bar(f"masks of {split.name}", "masks") as update:
        for done, _ in enumerate(read_masks(split.masks, kept, (1, 1), plan.request.workers)):
            update(done + 1, len(kept), split.name)


class DenseInputsCache:
    """Inputs of the tasks on patch maps; nothing of them is in memory, so there is nothing to share."""

    def __init__(
        self,
        plan: Plan,
        backbone: Backbone,
        dataset: Dataset,
        encoded: Encoded,
        shapes: dict[int, tuple[int, int, int]],
    ) -> None:
        self._plan, self._backbone, self._dataset = plan, backbone, dataset
        self._encoded, self._shapes = encoded, shapes

    def __call__(self, cell: Cell, progress: Callable[[int, int, str], None]) -> DenseInputs:
        """The inputs of a cell."""
        protocol = cell.planned.protocol
        assert isinstance(protocol, DenseSettings)
        return DenseInputs(
            dataset=self._dataset.name,
            train=self._split("train", protocol.layers),
            test=self._split(self._dataset.reported, protocol.layers),
            classes=self._dataset.classes_of(cell.planned.task.learns),
            size=self._backbone.preprocessing.size,
            device=self._plan.device,
            workers=self._plan.request.workers,
            progress=progress,
        )

    def _split(self, name: str, layers: int) -> DenseSplit:
        split, features = self._encoded.splits[name], self._encoded.sets[name]
        assert split.masks is not None
        kept = features.kept
        return DenseSplit(
            ids=split.ids.take(pa.array(kept)),
            maps=tuple(open_maps(features, layer, self._shapes[layer]) for layer in sorted(self._shapes)[-layers:]),
            masks=split.masks,
            rows=kept,
        )
