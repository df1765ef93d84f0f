"""Runs a plan on this machine: pass by pass, cell by cell, each stored the moment it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.backbones.backbone import Backbone
from benchmark.data.dataset import Dataset
from benchmark.results.store import ResultStore
from benchmark.runner.cell import run_cell
from benchmark.runner.cells import Cell, preprocessing_of
from benchmark.runner.dense import patch_maps
from benchmark.runner.encoded import Encoded
from benchmark.runner.images import ImageInputsOf, ShiftInputsOf, kept_images, scratch_of, seen_images
from benchmark.runner.models import ModelShelf
from benchmark.runner.passes import dense_groups, image_groups
from benchmark.runner.plan import Plan
from benchmark.runner.pooled import InputsCache, pooled_features
from benchmark.runner.provenance import hardware, new_run_id, now
from benchmark.runner.reporter import Reporter
from benchmark.runner.summary import Summary

InputsOf = Callable[[Cell, Callable[[int, int, str], None]], Any]


class _RunLog:
    """`DIR/runs/<run id>.jsonl`: a line per event, flushed as it happens."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a", encoding="utf-8")

    def write(self, event: str, **facts: Any) -> None:
        self._stream.write(json.dumps({"time": now(), "event": event, **facts}, ensure_ascii=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def run_plan(plan: Plan, shelf: ModelShelf, reporter: Reporter) -> Summary:
    """Makes every cell of the plan that is to do.

    One cell failing does not stop the others: it is stored as failed with its error.

    Raises:
        DataError: unreadable images (unless they are to be skipped).
        OSError: the disk is full, a folder read-only ...: what was finished is kept.
    """
    summary = Summary(stored_failed=[cell for cell in plan.cells if cell.state == "failed"])
    todo = plan.todo()
    if not todo:
        return summary
    run_id = new_run_id()
    log = _RunLog(plan.request.out / "runs" / f"{run_id}.jsonl")
    log.write("start", suite=plan.suite.name, cells=len(todo), device=str(plan.device), hardware=hardware(plan.device))
    try:
        for name in dict.fromkeys(cell.card.name for cell in todo):
            cells = [cell for cell in todo if cell.card.name == name]
            backbone = shelf.open(cells[0].card)
            _run_model(plan, shelf, backbone, cells, summary, run_id, log, reporter)
        log.write("end", made=summary.made, failed=len(summary.failed))
    except BaseException as error:
        log.write("stopped", why=f"{type(error).__name__}: {error}")
        raise
    finally:
        log.close()
    return summary


def _run_model(
    plan: Plan,
    shelf: ModelShelf,
    backbone: Backbone,
    cells: Sequence[Cell],
    summary: Summary,
    run_id: str,
    log: _RunLog,
    reporter: Reporter,
) -> None:
    store = ResultStore(plan.request.out)
    total = len(plan.todo())
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if "pooled" in cell.planned.needs:
            geometry = preprocessing_of(backbone, cell.planned.protocol).key()
            groups.setdefault((cell.dataset, geometry), []).append(cell)
    prepared: list[tuple[list[Cell], Callable[[], tuple[Encoded, InputsOf]]]] = [
        (group, partial(_pooled, plan, shelf, backbone, plan.datasets[name], group, reporter))
        for (name, _), group in groups.items()
    ]
    prepared += [
        (group, partial(patch_maps, plan, shelf, preprocessing, plan.datasets[name], group, reporter))
        for (name, _, _), (preprocessing, group) in dense_groups(backbone, cells).items()
    ]
    prepared += [
        (group, partial(_images, plan, shelf, plan.datasets[name], limit, reporter))
        for (name, limit), group in image_groups(cells).items()
    ]
    for group, prepare in prepared:
        encoded, inputs_of = prepare()
        name, dataset = group[0].dataset, plan.datasets[group[0].dataset]
        summary.encoded += encoded.encoded
        log.write("features", model=group[0].card.name, dataset=name, encoded=encoded.encoded, seconds=encoded.seconds)
        for cell in group:
            with store.claim(cell.key) as mine:
                if not mine or _made_meanwhile(store, cell, plan):
                    summary.elsewhere += 1
                    log.write("elsewhere", cell=str(cell.key))
                    continue
                result = run_cell(plan, backbone, dataset, cell, encoded, inputs_of, store, run_id, reporter)
                store.write(cell.key, result)
                if result.status == "done":
                    shutil.rmtree(scratch_of(plan, backbone, dataset, cell), ignore_errors=True)
            summary.made += 1
            if result.status == "failed":
                summary.failed.append(cell)
            log.write("cell", cell=str(cell.key), status=result.status, seconds=result.provenance.wall_time_s)
            reporter.cell(cell, result, summary.made + summary.elsewhere, total)


def _pooled(
    plan: Plan, shelf: ModelShelf, backbone: Backbone, dataset: Dataset, group: Sequence[Cell], reporter: Reporter
) -> tuple[Encoded, InputsOf]:
    encoded = pooled_features(plan, backbone, dataset, group, reporter)
    return encoded, ShiftInputsOf(
        InputsCache(plan, backbone, dataset, encoded), ImageInputsOf(plan, shelf, dataset, kept_images(encoded))
    )


def _images(
    plan: Plan, shelf: ModelShelf, dataset: Dataset, limit: int | None, reporter: Reporter
) -> tuple[Encoded, ImageInputsOf]:
    seen = seen_images(plan, dataset, limit, reporter)
    return seen, ImageInputsOf(plan, shelf, dataset, seen)


def _made_meanwhile(store: ResultStore, cell: Cell, plan: Plan) -> bool:
    """Whether another run finished the cell after this one planned it."""
    if plan.request.overwrite == "always":
        return False
    stored = store.read(cell.key)
    return stored is not None and stored.status == "done"
