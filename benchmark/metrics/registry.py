"""Scorers by name and version: `get_scorer` and `score`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from benchmark.errors import ResultError, nearest
from benchmark.metrics import (
    adversarial,
    calibration,
    changes,
    classification,
    columns,
    corruptions,
    episodes,
    multilabel,
    ood,
    segmentation,
    shape_bias,
    shift,
)
from benchmark.metrics.detection import coco, voc
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.metric import Metric


@dataclass(frozen=True)
class Scorer:
    """A pure function from a table of predictions to figures.

    Attributes:
        name, version: what a result stores; a version's figures never change.
        estimates: the figures with what each sample contributes to them.
    """

    name: str
    version: int
    estimates: Callable[[pa.Table], list[Estimate]]

    def __call__(self, table: pa.Table) -> list[Metric]:
        """The figures of a table, in a fixed order.

        Raises:
            ResultError: the table is another scorer's, malformed, or contradicts itself.
        """
        return [estimate.metric() for estimate in self.check(table)]

    def check(self, table: pa.Table) -> list[Estimate]:
        """`estimates` of a table that is this scorer's."""
        written_for = columns.facts_of(table)["scorer"]
        if written_for != self.name:
            raise columns.malformed(f"the columns of scorer {self.name!r}", f"those of {written_for!r}")
        return self.estimates(table)


_SCORERS: dict[tuple[str, int], Scorer] = {
    (name, version): Scorer(name, version, function)
    for name, version, function in (
        ("classification", classification.VERSION, classification.estimates),
        ("calibration", calibration.VERSION, calibration.estimates),
        ("multilabel", multilabel.VERSION, multilabel.estimates),
        ("episodes", episodes.VERSION, episodes.estimates),
        ("segmentation", segmentation.VERSION, segmentation.estimates),
        ("corruptions", corruptions.VERSION, corruptions.estimates),
        ("changes", changes.VERSION, changes.estimates),
        ("adversarial", adversarial.VERSION, adversarial.estimates),
        ("imagenet-c", corruptions.VERSION, corruptions.published_estimates),
        ("shift", shift.VERSION, shift.estimates),
        ("ood", ood.VERSION, ood.estimates),
        ("shape-bias", shape_bias.VERSION, shape_bias.estimates),
        ("detection", coco.VERSION, coco.estimates),
        ("detection-voc", voc.VERSION, voc.estimates),
    )
}


def get_scorer(name: str, version: int | None = None) -> Scorer:
    """The scorer of that name; the newest version unless one is given.

    Raises:
        ResultError: no such name or version.
    """
    versions = sorted(known for label, known in _SCORERS if label == name)
    if not versions:
        raise ResultError("a known scorer", f"{name!r}", nearest(name, {label for label, _ in _SCORERS}))
    if version is not None and version not in versions:
        held = ", ".join(str(known) for known in versions)
        raise ResultError(f"scorer {name!r} in version {held}", f"version {version}", "use the release that wrote it")
    return _SCORERS[name, versions[-1] if version is None else version]


def score(table: pa.Table, name: str | None = None, version: int | None = None) -> list[Metric]:
    """Scores a table with the named scorer, or with the one that the table's metadata names.

    Raises:
        ResultError: the scorer is unknown, or the table is malformed, contradicts itself or is another scorer's.
    """
    return get_scorer(name or columns.facts_of(table)["scorer"], version)(table)
