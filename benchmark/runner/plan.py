"""The plan: every cell of a request, validated before anything is run or written."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from benchmark.backbones.backbone import Backbone
from benchmark.data.dataset import Dataset
from benchmark.data.source import open_source
from benchmark.errors import BackboneError, NotApplicable, RequestError, SuiteError, nearest
from benchmark.features.store import FeatureStore
from benchmark.protocol import DenseSettings, ImageSettings
from benchmark.results.schema import ModelRecord, Result
from benchmark.results.store import CellKey, ResultStore
from benchmark.runner.cells import Cell, PlannedTask, preprocessing_of
from benchmark.runner.models import ModelShelf, model_record
from benchmark.runner.overrides import overridden
from benchmark.runner.passes import Pass, dense_passes, pooled_passes, relative_cost
from benchmark.runner.registry import load_protocol, load_task, parse_settings
from benchmark.runner.request import Overwrite, RunRequest
from benchmark.suites.cards import ModelCard
from benchmark.suites.suite import Suite, load_suite
from benchmark.task import Labels


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs, checked."""

    request: RunRequest
    suite: Suite
    device: torch.device
    datasets: dict[str, Dataset]
    records: dict[str, ModelRecord]
    cells: tuple[Cell, ...]
    passes: tuple[Pass, ...]
    seconds: float | None

    def todo(self) -> tuple[Cell, ...]:
        """Cells that a run would make."""
        return tuple(cell for cell in self.cells if cell.state == "todo")

    def check_applicable(self) -> None:
        """Stops where nothing of the request has a meaning.

        Raises:
            RequestError: every cell is not applicable.
        """
        if all(cell.state == "not applicable" for cell in self.cells):
            found = f"{len(self.cells)} that are not applicable ({self.cells[0].reason})"
            raise RequestError("a cell that can be run", found, "change the suite, the data or the checkpoint")


def make_plan(request: RunRequest, shelf: ModelShelf) -> Plan:
    """Validates a request and lays out its cells. Writes nothing.

    Raises:
        RequestError: anything that makes the request senseless, before a single image is encoded.
    """
    suite = load_suite(request.suite)
    seeds = request.seeds or suite.seeds
    sources = request.data or suite.datasets
    if not sources:
        raise SuiteError("a dataset", f"none in suite {suite.name} and no --data", "pass --data NAME=SOURCE")
    planned = _planned_tasks(request, suite, tuple(sources))
    names = [card.name for card in request.models]
    if len(set(names)) != len(names):
        raise RequestError("a name per model", f"{names}", "pass --name, or names in the cards file")
    datasets = {name: open_source(name, source) for name, source in sources.items()}

    store, features = ResultStore(request.out), FeatureStore(request.cache)
    cells: list[Cell] = []
    passes: list[Pass] = []
    records: dict[str, ModelRecord] = {}
    seconds: float | None = 0.0
    for card in request.models:
        backbone = shelf.open(card)
        records[card.name] = model_record(card, backbone)
        mine = [
            _cell(card, shelf, entry, datasets[dataset], seed, store, request.overwrite)
            for entry in planned
            for dataset in entry.datasets
            for seed in (seeds if entry.task.stochastic else seeds[:1])
        ]
        cells += mine
        todo = [
            *pooled_passes(card, backbone, mine, datasets, features),
            *dense_passes(card, shelf, mine, datasets, features),
        ]
        passes += todo
        work = sum(each.images * relative_cost(each.preprocessing, backbone.preprocessing) for each in todo)
        if work:
            seconds = (seconds or 0.0) + work / shelf.images_per_second(card)
    return Plan(request, suite, shelf.execution.torch_device, datasets, records, tuple(cells), tuple(passes), seconds)


def _planned_tasks(request: RunRequest, suite: Suite, datasets: tuple[str, ...]) -> list[PlannedTask]:
    overrides = parse_settings(request.settings)
    in_suite = list(dict.fromkeys(entry.task for entry in suite.tasks))
    for name in (*request.tasks, *overrides):
        if name not in in_suite:
            load_task(name)  # an unknown name gets its own message
            raise SuiteError(f"a task of suite {suite.name}", repr(name), nearest(name, in_suite))
    planned = []
    for entry in overridden(suite, overrides):
        if request.tasks and entry.task not in request.tasks:
            continue
        task = load_task(entry.task)
        protocol = load_protocol(task, entry.protocol, entry.settings)
        chosen = datasets if request.data or entry.datasets is None else entry.datasets
        planned.append(PlannedTask(task, protocol, chosen))
    keys = [(entry.task.name, entry.protocol.name) for entry in planned]
    for key in keys:
        if keys.count(key) > 1:
            raise SuiteError(
                "a task and protocol once per suite", f"{key[0]} {key[1]} twice", "mend the suite or --set"
            )
    return planned


def _cell(
    card: ModelCard,
    shelf: ModelShelf,
    planned: PlannedTask,
    dataset: Dataset,
    seed: int,
    store: ResultStore,
    overwrite: Overwrite,
) -> Cell:
    key = CellKey(card.name, planned.task.name, dataset.name, planned.protocol.name, seed)
    cell = Cell(key, card, planned, dataset.name, seed, "todo")
    backbone = shelf.open(card)
    try:
        _check_kind(card, planned, dataset, shelf)
        if planned.task.learns == "labels":
            train, reported = (dataset.splits[name].targets for name in ("train", dataset.reported))
            shifted = dataset.splits.get("shifted")
            labels = Labels(train, reported, dataset.classes, dataset.multilabel, dataset.shift, shifted)
            planned.task.check(planned.protocol, labels)
        if "head" in planned.needs and backbone.head is None:
            raise NotApplicable("a supervised head", f"none in {card.name}", "use a checkpoint that has one")
    except NotApplicable as reason:
        return replace(cell, state="not applicable", reason=f"needs {reason.expected}; found {reason.found}")
    if overwrite == "always":
        return cell
    stored = store.read(key)
    if stored is None or (stored.status == "failed" and overwrite == "failed"):
        return cell
    different = _identity_differs(stored, planned, dataset, backbone)
    if different:
        raise RequestError(
            f"results in {store.root} of the same {different[0]}",
            f"{key} was made with {different[1]}, this request has {different[2]}",
            "choose another --out or --name, or pass --overwrite always to replace it",
        )
    return replace(cell, state="done" if stored.status == "done" else "failed")


def _check_kind(card: ModelCard, planned: PlannedTask, dataset: Dataset, shelf: ModelShelf) -> None:
    """Whether the dataset has what the task learns, and the backbone the maps that it needs, at their size.

    Raises:
        NotApplicable: one of them has not.
    """
    learns, protocol = planned.task.learns, planned.protocol
    if learns not in dataset.kinds:
        what = {"labels": "a class per image", "masks": "masks", "objects": "boxes"}[learns]
        raise NotApplicable(what, f"{' and '.join(sorted(dataset.kinds))} only", "use another source")
    if planned.task.asks_shift(protocol) != (dataset.shift is not None):
        pair, one = "a pair of sources (--shift)", "one dataset"
        raise NotApplicable(*((pair, one) if dataset.shift is None else (one, pair)), "see run --shift")
    backbone = shelf.open(card)
    if not isinstance(protocol, DenseSettings | ImageSettings):
        planned.task.check_encoder(protocol, backbone)
        return
    try:
        opened = shelf.under(card, preprocessing_of(backbone, protocol))
    except BackboneError as error:  # it was built for its own size, so this one is the reason
        raise NotApplicable(error.expected, error.found, error.todo) from error
    planned.task.check_encoder(protocol, opened)


def _identity_differs(
    stored: Result, planned: PlannedTask, dataset: Dataset, backbone: Backbone
) -> tuple[str, str, str] | None:
    """The first thing in which a stored cell is not the one asked for: (what, stored, asked)."""
    asked_for = preprocessing_of(backbone, planned.protocol).model_dump(mode="json")
    pairs = (
        ("weights", stored.model.weights_hash, backbone.weights_hash),
        ("preprocessing", _without_source(stored.model.preprocessing), _without_source(asked_for)),
        ("data", stored.data.fingerprint, dataset.fingerprint),
        ("protocol version", stored.protocol.version, planned.protocol.version),
        ("task version", stored.task_version, planned.task.version),
    )
    for what, before, asked in pairs:
        if before != asked:
            return what, str(before), str(asked)
    return None


def _without_source(preprocessing: dict[str, object]) -> dict[str, object]:
    """Preprocessing without the words that say where it came from."""
    return {key: value for key, value in preprocessing.items() if key != "source"}
