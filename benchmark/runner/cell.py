"""One cell: inputs to predictions to metrics to a result."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmark.backbones.backbone import Backbone
from benchmark.data.annotations import Kind
from benchmark.data.dataset import Dataset
from benchmark.errors import DataError, RequestError
from benchmark.metrics.registry import get_scorer
from benchmark.results.schema import (
    DataRecord,
    ErrorRecord,
    MetricValue,
    ProtocolRecord,
    Provenance,
    Result,
    ScorerRecord,
    SelectionRecord,
)
from benchmark.results.store import ResultStore
from benchmark.runner.cells import Cell, preprocessing_of, representation_of
from benchmark.runner.encoded import Encoded
from benchmark.runner.plan import Plan
from benchmark.runner.provenance import code_version, hardware, libraries, now, peak_memory_mb
from benchmark.runner.reporter import Reporter

logger = logging.getLogger(__name__)


def run_cell(
    plan: Plan,
    backbone: Backbone,
    dataset: Dataset,
    cell: Cell,
    encoded: Encoded,
    inputs_of: Callable[[Cell, Callable[[int, int, str], None]], Any],
    store: ResultStore,
    run_id: str,
    reporter: Reporter,
) -> Result:
    """Runs a cell and stores its predictions; the result (done, or failed with its error) is the caller's to store.

    Raises:
        OSError: the machine's trouble (a full disk), not the cell's.
        DataError: the data's trouble.
    """
    task, protocol = cell.planned.task, cell.planned.protocol
    representation = representation_of(backbone, protocol)
    started = time.perf_counter()
    outcome: dict[str, Any]
    failure: ErrorRecord | None = None
    multilabel = dataset.multilabel and task.learns == "labels"
    scorer = get_scorer(task.scorer_of(protocol, multilabel))
    headline = task.headline_of(protocol, dataset.name, multilabel)
    with reporter.bar(str(cell.key)) as update:
        inputs = inputs_of(cell, update)  # its errors are the data's, not the cell's
        try:
            predictions = task.predict(inputs, protocol, cell.seed)
            metrics = tuple(MetricValue(**asdict(metric)) for metric in scorer(predictions.table))
            if headline not in {metric.name for metric in metrics}:
                raise RuntimeError(f"{task.name} gave no {headline}, its headline")
        except OSError:
            raise  # the machine's trouble, not the cell's
        except Exception as error:
            if isinstance(error, DataError) and "backbone" in cell.planned.needs:
                raise  # it reads the images itself: what it cannot read is the data's trouble
            logger.exception("cell failed: %s", cell.key)
            failure = _error_record(error)
    if failure is not None:
        outcome = {"status": "failed", "selection": SelectionRecord(how="none"), "error": failure}
    else:
        path, digest = store.write_predictions(cell.key, predictions.table)
        outcome = {
            "status": "done",
            "selection": SelectionRecord(how=predictions.selection, n=predictions.selection_n),
            "metrics": metrics,
            "details": dict(predictions.details),
            "predictions": path,
            "predictions_sha256": digest,
        }
    return Result(
        model=plan.records[cell.card.name].model_copy(
            update={"preprocessing": preprocessing_of(backbone, protocol).model_dump(mode="json")}
        ),
        task=task.name,
        task_version=task.version,
        protocol=ProtocolRecord(
            name=protocol.name,
            version=protocol.version,
            settings=protocol.model_dump(mode="json", exclude={"name", "version", "summary", "paper"}),
            representation=representation,
            paper=protocol.paper,
            summary=protocol.summary,
        ),
        data=_data_record(dataset, task.learns, encoded),
        seed=cell.seed,
        headline=headline,
        scorer=ScorerRecord(name=scorer.name, version=scorer.version),
        provenance=_provenance(plan, backbone, run_id, time.perf_counter() - started, encoded),
        **outcome,
    )


def _error_record(error: Exception) -> ErrorRecord:
    message = str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
    return ErrorRecord(
        kind=type(error).__name__,
        message=" ".join(message.split()),
        traceback="".join(traceback.format_exception(error)),
    )


def _data_record(dataset: Dataset, learns: Kind, encoded: Encoded) -> DataRecord:
    return DataRecord(
        name=dataset.name,
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        reported_split=dataset.reported,
        classes=len(dataset.classes_of(learns)),
        n_train=encoded.images("train") if "train" in encoded.splits else 0,  # where nothing is fitted
        n_reported=encoded.images(dataset.reported),
        multilabel=dataset.multilabel and learns == "labels",
        skipped={name: list(ids) for name, ids in encoded.skipped.items()},
        notices=dataset.notices,
    )


def _provenance(plan: Plan, backbone: Backbone, run_id: str, seconds: float, encoded: Encoded) -> Provenance:
    return Provenance(
        code_version=code_version(),
        run_id=run_id,
        finished=now(),
        device=str(plan.device),
        hardware=hardware(plan.device),
        precision=backbone.execution.precision,
        libraries=libraries(),
        wall_time_s=round(seconds, 4),
        extraction_s=round(encoded.seconds, 4),
        images_per_s=round(encoded.encoded / encoded.seconds, 2) if encoded.encoded else None,
        peak_memory_mb=round(peak_memory_mb(plan.device), 1),
    )
