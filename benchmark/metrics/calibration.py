"""The `calibration` scorer: does a classifier know how sure it may be, and which of its answers to withhold?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from benchmark.metrics import classification, columns, intervals, selective
from benchmark.metrics.classification import BINS, calibration_gaps
from benchmark.metrics.estimate import Estimate, Share
from benchmark.metrics.names import split_name, with_variant

VERSION = 1
COVERAGES = (80, 90, 95)
"""Percent of the images, the surest, on which accuracy is quoted."""
RISKS = (1, 5)
"""Percent of errors up to which coverage is quoted."""
SCALINGS: Mapping[str, str] = {"": "", "ts": "scaled_"}
"""Variant -> prefix of its columns: probabilities as they are, and after temperature scaling."""
_SHARED = ("top1", "ece", "nll")
_TOLERANCE = 1e-3  # as of the `classification` scorer


@dataclass(frozen=True)
class Spread:
    """What `classification` columns do not keep of N distributions over classes.

    Attributes:
        log_odds: (N,) log(p / (1 - p)) of the largest probability p, which keeps the order of images that p as a float
            near 1 loses.
        squares: (N,) the sum over classes of squared probabilities.
    """

    log_odds: np.ndarray
    squares: np.ndarray


def calibration_table(answers: pa.Table, spreads: Mapping[str, Spread]) -> pa.Table:
    """A row per image for this scorer.

    Args:
        answers: of `classification_table`, one variant and draw, with probabilities plain and scaled.
        spreads: of each of `SCALINGS`.
    """
    classes = columns.facts_of(answers)["classes"]
    for scaling, prefix in SCALINGS.items():
        for name in ("log_odds", "squares"):
            values = getattr(spreads[scaling], name).astype(np.float32)
            answers = answers.append_column(f"{prefix}{name}", pa.array(values))
    return columns.stamp(answers, "calibration", classes)


def estimates(table: pa.Table) -> list[Estimate]:
    """`top1`, `ece` and `nll` as of `classification`; `adaptive_ece`, `brier`, `aurc`, `eaurc`, `selective_accuracy`
    at each of `COVERAGES` and `coverage` at each of `RISKS`; after temperature scaling under `@ts`.

    Raises:
        ResultError: as of `classification`; several variants or draws; or columns that contradict each other.
    """
    shared = [one for one in classification.estimates(table) if split_name(one.name)[0] in _SHARED]
    (_, rows), *others = columns.by_variant(table)
    ids, _, tables = columns.by_draw(rows)
    if others or len(tables) != 1:
        raise columns.malformed("one variant and draw", f"{len(others) + 1} and {len(tables)}")
    targets = columns.integers(tables[0], "target")
    wrong = columns.integers(tables[0], "prediction") != targets
    unit = _Unit(ids, targets)
    return shared + [one for scaling in SCALINGS for one in _figures(unit, tables[0], wrong, scaling)]


def adaptive_bins(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Bin of each confidence, (N,) integers from 0, as many in each as can be; equal confidences share a bin.

    Nguyen & O'Connor 2015, with edges as in the code of Nixon et al. 2019 (uncertainty_metrics,
    general_calibration_error.py): bin m holds from the confidence at place round(m N / bins) up to the next such one.
    """
    n = len(confidence)
    places = np.minimum(np.round(np.linspace(0, n, bins, endpoint=False)).astype(np.int64), n - 1)
    edges = np.sort(confidence)[places]
    return np.digitize(confidence, edges[1:])


@dataclass(frozen=True)
class _Unit:
    """What all figures of a table share."""

    ids: np.ndarray
    targets: np.ndarray

    def mean(self, name: str, values: np.ndarray, most: float) -> Estimate:
        def interval() -> tuple[float, float]:
            low, high = intervals.of_mean(values)
            return max(0.0, low), min(most, high)

        return Estimate(name, float(values.mean()), interval, self.ids, self.targets, values[:, None])

    def share(self, name: str, figure: Share) -> Estimate:
        return figure.estimate(name, self.ids, self.targets)

    def magnitudes(self, name: str, gaps: np.ndarray) -> Estimate:
        def interval() -> tuple[float, float]:
            low, high = intervals.of_magnitudes(gaps)
            return low, min(100.0, high)

        value = float(np.abs(gaps.mean(axis=0)).sum())
        return Estimate(name, value, interval, self.ids, self.targets, gaps, folds=1)


def _figures(unit: _Unit, rows: pa.Table, wrong: np.ndarray, scaling: str) -> list[Estimate]:
    prefix = SCALINGS[scaling]
    confidence, log_prob, log_odds, squares = (
        _numbers(rows, f"{prefix}{name}") for name in ("confidence", "log_prob", "log_odds", "squares")
    )
    _check(confidence, log_odds, squares, prefix)

    def named(base: str, detail: str = "") -> str:
        return with_variant(base, "-".join(part for part in (detail, scaling) if part))

    gaps = 100 * calibration_gaps(confidence, ~wrong, adaptive_bins(confidence))
    curve = selective.risk_coverage(log_odds, wrong)
    return [
        unit.magnitudes(named("adaptive_ece"), gaps),
        unit.mean(named("brier"), 1 - 2 * np.exp(log_prob) + squares, 2.0),
        unit.share(named("aurc"), selective.area(curve)),
        unit.share(named("eaurc"), selective.excess_area(curve)),
        *(
            unit.share(named("selective_accuracy", str(part)), selective.accuracy_at(curve, part / 100))
            for part in COVERAGES
        ),
        *(unit.share(named("coverage", f"risk{part}"), selective.coverage_at(curve, part / 100)) for part in RISKS),
    ]


def _numbers(rows: pa.Table, name: str) -> np.ndarray:
    values = columns.optional_floats(rows, name)
    if values is None:
        raise columns.malformed(f"numbers in {name!r}", "none")
    return values


def _check(confidence: np.ndarray, log_odds: np.ndarray, squares: np.ndarray, prefix: str) -> None:
    """Stops unless the three can be of one distribution per image: p^2 <= sum of squares <= p = 1 / (1 + e^-odds)."""
    apart = np.abs(1 / (1 + np.exp(-log_odds)) - confidence) > _TOLERANCE
    if apart.any():
        names = f"'{prefix}log_odds' and '{prefix}confidence' that agree"
        raise columns.malformed(names, f"{int(apart.sum())} that do not")
    outside = (squares < confidence**2 - _TOLERANCE) | (squares > confidence + _TOLERANCE)
    if outside.any():
        names = f"'{prefix}squares' from the square of '{prefix}confidence' to itself"
        raise columns.malformed(names, f"{int(outside.sum())} outside")
