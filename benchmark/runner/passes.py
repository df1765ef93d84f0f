"""Passes: which images have to be encoded for the cells of a plan, and which cells share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.dataset import Dataset, Split
from benchmark.data.sample import learned_and_reported
from benchmark.features.extract import feature_key
from benchmark.features.maps import check_room, map_bytes, map_shapes, missing_maps
from benchmark.features.store import FeatureStore, chunk_range
from benchmark.protocol import DenseSettings, ImageSettings
from benchmark.runner.cells import Cell, preprocessing_of, representation_of
from benchmark.runner.models import ModelShelf
from benchmark.suites.cards import ModelCard


@dataclass(frozen=True)
class Pass:
    """One pass of a dataset's images through a backbone: representations under one geometry, and what is left to do.

    `stored` is what patch maps will take on the disk, in bytes (vectors take next to nothing).
    """

    card: ModelCard
    dataset: str
    preprocessing: Preprocessing
    representations: tuple[str, ...]
    images: int
    stored: int = 0


def read_splits(dataset: Dataset, cells: Sequence[Cell]) -> list[Split]:
    """The splits whose features some of the cells read."""
    asked = [(cell.planned.task, cell.planned.protocol) for cell in cells]
    unread: set[str] = set()
    if not any(task.reads_train(protocol) for task, protocol in asked):
        unread |= {"train", "val"} - {dataset.reported}
    if not any(task.reads_shifted(protocol) for task, protocol in asked):
        unread |= {"shifted"}
    return [split for name, split in dataset.splits.items() if name not in unread]


def pooled_passes(
    card: ModelCard, backbone: Backbone, cells: list[Cell], datasets: dict[str, Dataset], store: FeatureStore
) -> list[Pass]:
    """What has to be encoded for the cells to do: one pass per dataset and geometry."""
    wanted: dict[tuple[str, str], tuple[Preprocessing, list[str], list[Cell]]] = {}
    for cell in cells:
        if cell.state == "not applicable":
            continue
        preprocessing = preprocessing_of(backbone, cell.planned.protocol)
        representation = representation_of(backbone, cell.planned.protocol)
        if cell.state != "todo" or "pooled" not in cell.planned.needs:
            continue
        _, names, group = wanted.setdefault((cell.dataset, preprocessing.key()), (preprocessing, [], []))
        group.append(cell)
        if representation not in names:
            names.append(representation)
    passes = []
    for (dataset, _), (preprocessing, names, group) in wanted.items():
        images = 0
        for split in read_splits(datasets[dataset], group):
            key = feature_key(backbone, preprocessing, split)
            chunks = set().union(*(store.missing(key, name) for name in names))
            images += sum(len(chunk_range(key.n, chunk)) for chunk in chunks)
        passes.append(Pass(card, dataset, preprocessing, tuple(names), images))
    return passes


def dense_groups(
    backbone: Backbone, cells: Sequence[Cell]
) -> dict[tuple[str, str, int | None], tuple[Preprocessing, list[Cell]]]:
    """Cells to do that share one pass for patch maps: by dataset, geometry and limit of training images."""
    groups: dict[tuple[str, str, int | None], tuple[Preprocessing, list[Cell]]] = {}
    for cell in cells:
        protocol = cell.planned.protocol
        if cell.state != "todo" or not isinstance(protocol, DenseSettings):
            continue
        preprocessing = preprocessing_of(backbone, protocol)
        key = (cell.dataset, preprocessing.key(), protocol.train_images)
        groups.setdefault(key, (preprocessing, []))[1].append(cell)
    return groups


def image_groups(cells: Sequence[Cell]) -> dict[tuple[str, int | None], list[Cell]]:
    """Cells to do whose task reads the images itself: by dataset and limit of training images."""
    groups: dict[tuple[str, int | None], list[Cell]] = {}
    for cell in cells:
        protocol = cell.planned.protocol
        if cell.state == "todo" and isinstance(protocol, ImageSettings):
            groups.setdefault((cell.dataset, protocol.train_images), []).append(cell)
    return groups


def most_layers(cells: Sequence[Cell]) -> int:
    """How many of the last layers the cells of a group need at most."""
    return max(cell.planned.protocol.layers for cell in cells if isinstance(cell.planned.protocol, DenseSettings))


def dense_passes(
    card: ModelCard, shelf: ModelShelf, cells: list[Cell], datasets: dict[str, Dataset], store: FeatureStore
) -> list[Pass]:
    """What has to be encoded for the cells that need patch maps.

    Raises:
        DataError: the maps would not fit on the disk of the cache.
    """
    passes = []
    for (name, _, limit), (preprocessing, group) in dense_groups(shelf.open(card), cells).items():
        backbone = shelf.under(card, preprocessing)
        shapes = map_shapes(backbone, most_layers(group))
        splits = learned_and_reported(datasets[name], limit)
        images = sum(missing_maps(backbone, split, store, tuple(shapes)) for split in splits.values())
        check_room(store, images, shapes)
        passes.append(Pass(card, name, preprocessing, ("patch",), images, images * map_bytes(shapes)))
    return passes


def relative_cost(preprocessing: Preprocessing, native: Preprocessing) -> float:
    """Pixels per image over those of the checkpoint's own size."""
    return (preprocessing.size[0] * preprocessing.size[1]) / (native.size[0] * native.size[1])
