"""Measured results beside published figures of the same weights under the same protocol.

    beside(entries) -> list[Comparison]               every published figure that a measured one stands beside
    left_out(entries) -> list[LeftOut]                the other published figures of the measured weights, with reasons
    contradicted(comparisons) -> list[Comparison]     those that the measurement contradicts
    identity.identify(model) -> Identity              which released weights a measured model is
    rows.published_rows()                             all published figures

Both figures come from the same weights on the same test images, so the interval over test images is no yardstick for
their difference. What may differ is the rounding of the print, the random part of the recipe, and what a faithful
repetition cannot fix (decoding, resizing, libraries); see `docs/published.md`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from benchmark.results.schema import MetricValue, Result
from leaderboard.published.identity import identify
from leaderboard.published.mapping import Mapping, Target, published_map
from leaderboard.published.rows import PublishedRow, published_rows
from leaderboard.tables import Entry, mean_over_seeds

_Z = 1.959963984540054  # of a 95% interval
_SEEDS = 3  # below, a standard deviation over seeds says next to nothing
_EPSILON = 1e-9  # points: the last digits of a sum


@dataclass(frozen=True)
class Comparison:
    """A published figure beside the measured one of the same weights and protocol.

    Attributes:
        model: what results call the checkpoint.
        dataset, task, protocol, metric: of the measured result; `metric` is our name (`top1@k20`).
        measured: mean over seeds.
        ci_low, ci_high: 95% over test images (mean over seeds of the limits).
        published: as printed, as a number; `row` has its digits.
        source, confidence, flag: of the published row.
        difference: measured minus published; None where the published figure is suspect.
        allowed: how far the two may lie apart before one contradicts the other; None where the published figure is
            suspect or approximate.
        contradicted: whether they lie further apart; None where that cannot be said.
        reason: what the verdict rests on, for people.
        row: the published row.
        entries: the measured results, one per seed.
    """

    model: str
    dataset: str
    task: str
    protocol: str
    metric: str
    measured: float
    ci_low: float
    ci_high: float
    published: float
    source: str
    confidence: str
    flag: str
    difference: float | None
    allowed: float | None
    contradicted: bool | None
    reason: str
    row: PublishedRow = field(repr=False)
    entries: tuple[Entry, ...] = field(repr=False)

    @property
    def printed(self) -> str:
        """The published figure with the digits of its source."""
        return str(self.row.value)


@dataclass(frozen=True)
class LeftOut:
    """A published figure of measured weights that nothing measured stands beside.

    Attributes:
        model: what results call the checkpoint.
        row: the published row.
        reason: why.
        near: whether a result of that protocol family on that dataset was measured, and differs in what `reason` says.
    """

    model: str
    row: PublishedRow
    reason: str
    near: bool


def beside(
    entries: Sequence[Entry], rows: Sequence[PublishedRow] | None = None, mapping: Mapping | None = None
) -> list[Comparison]:
    """Every published figure that a measured one stands beside, models and results in the order of `entries`."""
    mapping = mapping or published_map()
    found = []
    for model, group, own_rows in _by_model(entries, rows):
        targets = [(row, target) for row in own_rows if isinstance(target := mapping.resolve(row), Target)]
        for cell in _cells(group):
            for row, target in targets:
                if not differences(cell[0].result, target):
                    found.append(_compared(model, cell, row, target))
    return found


def left_out(
    entries: Sequence[Entry], rows: Sequence[PublishedRow] | None = None, mapping: Mapping | None = None
) -> list[LeftOut]:
    """The published figures of the measured weights that `beside` does not return, with reasons."""
    mapping = mapping or published_map()
    found = []
    for model, group, own_rows in _by_model(entries, rows):
        cells = [cell[0].result for cell in _cells(group)]
        for row in own_rows:
            target = mapping.resolve(row)
            if isinstance(target, str):
                found.append(LeftOut(model, row, target, near=False))
                continue
            candidates: list[list[str]] = [differences(result, target) for result in cells if _near(result, target)]
            if not candidates:
                needed = f"not measured: {target.protocol} on {target.dataset}"
                if target.protocol in mapping.awaited:
                    needed = f"{target.protocol} is no protocol of ours yet"
                found.append(LeftOut(model, row, needed, near=False))
            elif all(candidates):
                found.append(LeftOut(model, row, "; ".join(sorted(candidates, key=len)[0]), near=True))
    return found


def unidentified(entries: Sequence[Entry]) -> dict[str, str]:
    """Models that stand for no released weights, with the reason."""
    models = {entry.result.model.name: entry.result.model for entry in entries}
    return {name: reason for name, model in models.items() if (reason := identify(model).reason)}


def contradicted(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The comparisons whose two figures cannot both be right."""
    return [comparison for comparison in comparisons if comparison.contradicted]


def differences(result: Result, target: Target) -> list[str]:
    """In what a measured result is not what the published figure is of; empty where they are of the same.

    The dataset's name, its known numbers of classes and images, its split, the protocol (without any override) and its
    version, where hyper-parameters were selected, what images were fed, and the metric have to agree.
    """
    facts, data, protocol = target.facts, result.data, result.protocol
    pairs: list[tuple[str, object, object]] = [
        ("protocol", protocol.name, target.protocol),
        ("protocol version", protocol.version, target.version),
        ("selection on the reported split", protocol.paper, target.paper),
        ("dataset", data.name, target.dataset),
    ]
    pairs += [
        (what, ours, theirs)
        for what, ours, theirs in (
            ("classes", data.classes, facts.classes),
            ("training images", data.n_train, facts.train),
            ("reported images", data.n_reported, facts.reported),
            ("selection", result.selection.how, target.selection),
            ("representation", protocol.representation, target.representation),
        )
        if theirs is not None
    ]
    found = [f"{what}: {_show(ours)}, published {_show(theirs)}" for what, ours, theirs in pairs if ours != theirs]
    if data.reported_split not in facts.splits:
        found.append(f"split: {data.reported_split}, published {' or '.join(facts.splits)}")
    if data.skipped:
        found.append(f"images left out: {sum(map(len, data.skipped.values())):,}")
    found += [
        f"{name}: {_show(ours)}, published {theirs}"
        for name, theirs in target.preprocessing.items()
        if not _agree(ours := _preprocessing(result, name), theirs)
    ]
    if result.status == "done" and target.metric not in (metric.name for metric in result.metrics):
        found.append(f"no metric {target.metric}")
    return found


def allowance(values: Sequence[MetricValue], row: PublishedRow, target: Target) -> float:
    """How far mean over seeds and published figure may lie apart, in the metric's unit.

    Half of the last printed digit, the protocol's tolerance, and a 95% interval of the difference that random parts of
    the recipe alone would make: between runs of a mean over `len(values)` and one over `target.trials`, and between a
    protocol's own draws (episodes, subsets), which the source made as many of. The standard deviation between runs is
    the published one, or the measured one from three seeds on.
    """
    runs = len(values)
    shares = 1 / runs + 1 / target.trials
    random = 0.0
    if target.spread:
        random = _Z * target.spread * math.sqrt(shares)
    elif runs >= _SEEDS:
        deviation = stdev(value.value for value in values)
        random = float(stats.t.ppf(0.975, runs - 1)) * deviation * math.sqrt(shares)
    draws = [value.spread**2 / value.draws for value in values if value.spread is not None]
    drawn = _Z * math.sqrt(fmean(draws) * shares) if draws else 0.0
    return row.half_unit + target.tolerance + math.hypot(random, drawn)


def _by_model(
    entries: Sequence[Entry], rows: Sequence[PublishedRow] | None
) -> Iterable[tuple[str, list[Entry], list[PublishedRow]]]:
    """Done results and published rows of every model that stands for released weights."""
    table = published_rows() if rows is None else rows
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.result.model.name, []).append(entry)
    known = {row.weights for row in table if row.weights}
    for name, group in groups.items():
        weights = identify(group[0].result.model, known).weights
        if weights is not None:
            done = [entry for entry in group if entry.result.status == "done"]
            yield name, done, [row for row in table if row.weights == weights]


def _cells(entries: Iterable[Entry]) -> list[tuple[Entry, ...]]:
    """Results that differ in their seed only."""
    cells: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        result = entry.result
        data, protocol = result.data, result.protocol
        key = (result.task, protocol.name, protocol.version, data.name, data.fingerprint, result.selection.how)
        cells.setdefault(key, []).append(entry)
    return [tuple(sorted(cell, key=lambda entry: entry.result.seed)) for cell in cells.values()]


def _near(result: Result, target: Target) -> bool:
    """Whether a result is of the protocol's family, on the dataset or on something of its size."""
    plain = result.protocol.name.partition("+")[0].removesuffix("/paper")
    facts, data = target.facts, result.data
    same_size = facts.reported is not None and (data.n_reported, data.classes) == (facts.reported, facts.classes)
    return plain == target.protocol.removesuffix("/paper") and (data.name == target.dataset or same_size)


def _compared(model: str, cell: tuple[Entry, ...], row: PublishedRow, target: Target) -> Comparison:
    values = [entry.result.metric(target.metric) for entry in cell]
    result = cell[0].result
    measured, published = mean_over_seeds(values), float(row.value)
    difference = None if row.suspect else measured - published
    allowed = None if row.suspect or row.approximate else allowance(values, row, target)
    verdict = None
    if difference is not None and allowed is not None:
        verdict = abs(difference) > allowed + _EPSILON
    return Comparison(
        model=model,
        dataset=result.data.name,
        task=result.task,
        protocol=result.protocol.name,
        metric=target.metric,
        measured=measured,
        ci_low=fmean(value.ci_low for value in values),
        ci_high=fmean(value.ci_high for value in values),
        published=published,
        source=row.source,
        confidence=row.confidence,
        flag=row.flag,
        difference=difference,
        allowed=allowed,
        contradicted=verdict,
        reason=_reason(row, difference, allowed, verdict),
        row=row,
        entries=cell,
    )


def _reason(row: PublishedRow, difference: float | None, allowed: float | None, verdict: bool | None) -> str:
    if row.suspect:
        return f"not compared: {row.flag}"
    if row.approximate:
        return f"no verdict: {row.flag}"
    assert difference is not None and allowed is not None
    compared = "more than" if verdict else "within"
    return f"{abs(difference):.2f} apart, {compared} the {allowed:.2f} of rounding, tolerance and chance"


def _preprocessing(result: Result, name: str) -> Any:
    """A field of what the images went through: what the protocol pins (crop, size), else the checkpoint's own."""
    pinned = result.protocol.settings.get(name)
    return result.model.preprocessing.get(name) if pinned is None else pinned


def _agree(ours: Any, theirs: str) -> bool:
    """Whether a stored field is what a rule says: `224` is a square of that side, numbers agree as numbers."""
    if isinstance(ours, list | tuple):
        return all(_agree(side, theirs) for side in ours)
    if isinstance(ours, float | int):
        return math.isclose(float(ours), float(theirs), abs_tol=1e-6)
    return ours is not None and str(ours) == theirs


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
