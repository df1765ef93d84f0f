"""A stored result: everything needed to trace a figure, and nothing needed to compute it (that is the predictions)."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchmark.results.migrations import SCHEMA_VERSION


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricValue(_Record):
    """One figure with its interval (see `benchmark.metrics.Metric`, whose fields these are)."""

    name: str
    value: float
    ci_low: float
    ci_high: float
    higher_is_better: bool
    n: int = Field(ge=1)
    spread: float | None = None
    draws: int = Field(default=1, ge=1)

    @field_validator("value", "ci_low", "ci_high", "spread")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("a figure is never NaN or infinite")
        return value


class ModelRecord(_Record):
    """The checkpoint: which bytes, how they were read, what they became."""

    name: str
    spec: str
    arch: str
    weights_hash: str
    file_sha256: str | None = None
    layout: str | None = None
    key: str | None = None
    params: int
    macs: int | None = Field(default=None, description="multiply-adds of one image")
    has_head: bool = False
    representations: tuple[str, ...]
    default_representation: str
    preprocessing: dict[str, Any]
    notices: tuple[str, ...] = ()
    method: str | None = None
    pretraining_data: str | None = None
    epochs: int | None = None
    licence: str | None = None
    link: str | None = None
    weights: str | None = None
    groups: dict[str, str] = Field(default_factory=dict)


class DataRecord(_Record):
    """The dataset: where it came from and what it was when it was read."""

    name: str
    source: str
    fingerprint: str
    reported_split: str
    classes: int
    n_train: int
    n_reported: int
    multilabel: bool = False
    skipped: dict[str, list[str]] = Field(default_factory=dict, description="split -> ids of images left out")
    notices: tuple[str, ...] = ()


class ProtocolRecord(_Record):
    """The protocol under which the figure was made, with every setting."""

    name: str
    version: int
    settings: dict[str, Any]
    representation: str
    paper: bool = False
    summary: str = ""


class ScorerRecord(_Record):
    """The scorer that turned the predictions into the metrics."""

    name: str
    version: int


class SelectionRecord(_Record):
    """What hyper-parameters were chosen on."""

    how: str
    n: int = 0


class Provenance(_Record):
    """What ran, where, and for how long."""

    code_version: str
    run_id: str
    finished: str
    device: str
    hardware: str
    precision: str
    libraries: dict[str, str]
    wall_time_s: float
    extraction_s: float = 0.0
    images_per_s: float | None = None
    peak_memory_mb: float | None = None


class ErrorRecord(_Record):
    """Why a cell failed: one line for people, the traceback for its developer."""

    kind: str
    message: str
    traceback: str


class Result(_Record):
    """A finished cell (done or failed)."""

    schema_version: Literal[1] = SCHEMA_VERSION
    status: Literal["done", "failed"]
    model: ModelRecord
    task: str
    task_version: int
    protocol: ProtocolRecord
    data: DataRecord
    seed: int
    headline: str
    scorer: ScorerRecord
    selection: SelectionRecord
    metrics: tuple[MetricValue, ...] = ()
    details: dict[str, Any] = Field(default_factory=dict)
    predictions: str | None = Field(default=None, description="path of the predictions, relative to the output folder")
    predictions_sha256: str | None = None
    provenance: Provenance
    error: ErrorRecord | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Result:
        if self.status == "done":
            names = [metric.name for metric in self.metrics]
            if self.headline not in names:
                raise ValueError(f"headline {self.headline} is not among the metrics {names}")
            if len(set(names)) != len(names):
                raise ValueError("a metric appears twice")
            if self.predictions is None or self.predictions_sha256 is None:
                raise ValueError("a done result names its predictions")
        elif self.error is None:
            raise ValueError("a failed result carries its error")
        return self

    def metric(self, name: str | None = None) -> MetricValue:
        """The named metric (the headline without a name).

        Raises:
            KeyError: the result has no such metric.
        """
        wanted = name or self.headline
        for metric in self.metrics:
            if metric.name == wanted:
                return metric
        raise KeyError(wanted)
