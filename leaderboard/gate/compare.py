"""Two models of two folders, cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from statistics import fmean

from benchmark.errors import RequestError, ResultError, nearest
from benchmark.metrics.significance import holm
from benchmark.results.schema import MetricValue, Result
from benchmark.results.store import open_store, read_predictions
from leaderboard.comparability import conflicts
from leaderboard.gate.policy import Policy
from leaderboard.gate.seeds import choose_seeds
from leaderboard.gate.verdict import CellVerdict, decide
from leaderboard.statistics import Difference, pooled_difference

_SAME = 1e-6  # of a point: what sums in another order may differ by


@dataclass(frozen=True)
class Side:
    """A model of a folder: its results by cell and seed.

    Attributes:
        root: the output folder.
        model: the model's name there.
        cells: (dataset, task, protocol) -> seed -> result.
    """

    root: Path
    model: str
    cells: dict[tuple[str, str, str], dict[int, Result]]


@dataclass(frozen=True)
class Check:
    """What the gate found.

    Attributes:
        baseline, candidate: the two sides, as `DIR:NAME`.
        policy: what was asked.
        cells: a verdict per cell, failures first.
    """

    baseline: str
    candidate: str
    policy: Policy
    cells: tuple[CellVerdict, ...]

    @property
    def exit_code(self) -> int:
        """1 where a cell fails the policy, else 0."""
        return 1 if any(cell.outcome == "fail" for cell in self.cells) else 0


def read_side(where: str) -> Side:
    """The model that `DIR` or `DIR:NAME` names.

    Raises:
        RequestError: several models and no name, or a name that the folder does not have.
        ResultError: a folder without results, or one name for two weights.
    """
    path, _, name = where.rpartition(":") if ":" in where and not Path(where).exists() else (where, "", "")
    root = Path(path)
    results = [result for _, result in open_store(root).results()]
    names = sorted({result.model.name for result in results})
    if not name and len(names) != 1:
        shown = ", ".join(names[:6])
        todo = f"write {root}:{names[0]}" if names else "run something into it"
        raise RequestError("DIR:NAME, where DIR holds several models", f"{where} with {shown or 'none'}", todo)
    if name and name not in names:
        raise RequestError(f"a model of {root}", repr(name), nearest(name, names))
    chosen = name or names[0]
    mine = [result for result in results if result.model.name == chosen]
    weights = sorted({result.model.weights_hash for result in mine})
    if len(weights) > 1:
        found = f"{len(weights)} under {chosen} in {root}"
        raise ResultError("one set of weights of a name", found, "run them under names of their own")
    cells: dict[tuple[str, str, str], dict[int, Result]] = {}
    for result in mine:
        cells.setdefault((result.data.name, result.task, result.protocol.name), {})[result.seed] = result
    return Side(root, chosen, cells)


def check(baseline: Side, candidate: Side, policy: Policy) -> Check:
    """Compares every cell of the baseline with the candidate's; lists what only the candidate has.

    Raises:
        RequestError: no cell in common, or a required one that the baseline does not have.
    """
    common = baseline.cells.keys() & candidate.cells.keys()
    if not common:
        raise RequestError(
            "a cell that both sides have",
            f"{len(baseline.cells)} of {baseline.model}, {len(candidate.cells)} of {candidate.model}, none in common",
            "run both with one suite on the same data",
        )
    known = {f"{dataset}/{task}" for dataset, task, _ in baseline.cells}  # what the baseline lacks cannot be required
    for required in policy.required:
        if required not in known:
            raise RequestError("required cells that the baseline has", repr(required), nearest(required, known))
    places = Counter(key[:2] for key in baseline.cells.keys() | candidate.cells.keys())
    several = {place for place, count in places.items() if count > 1}
    rows: list[tuple[CellVerdict, Difference | None]] = []
    for key in sorted(baseline.cells.keys() | candidate.cells.keys()):
        dataset, task, protocol = key
        if policy.of(task).action == "ignore":
            continue
        label = f"{dataset}/{task}" + (f" [{protocol}]" if key[:2] in several else "")
        rows.append(_compared(label, baseline, candidate, key, policy))
    if not rows:
        raise RequestError("a task that the policy does not ignore", ", ".join(sorted(known)), "mend the policy")
    differences = [difference for _, difference in rows if difference is not None]
    adjusted = iter(holm([difference.p_value for difference in differences]))
    cells = [_decided(row, difference, next(adjusted), policy) if difference else row for row, difference in rows]
    order = {"fail": 0, "warn": 1, "pass": 2}
    cells.sort(key=lambda cell: order[cell.outcome])
    return Check(f"{baseline.root}:{baseline.model}", f"{candidate.root}:{candidate.model}", policy, tuple(cells))


def _compared(
    label: str, baseline: Side, candidate: Side, key: tuple[str, str, str], policy: Policy
) -> tuple[CellVerdict, Difference | None]:
    """The cell before its verdict, with the difference where there is one."""
    rule = policy.of(key[1])
    left, right = baseline.cells.get(key, {}), candidate.cells.get(key, {})
    headline = next(iter((left or right).values())).headline
    row = CellVerdict(label, key[1], headline, "missing", rule.action, margin=rule.margin or 0.0)
    if f"{key[0]}/{key[1]}" in policy.required:
        row = _with(row, action="fail")
    if not right:
        return _with(row, note=f"{candidate.model} has no such result"), None
    chosen = choose_seeds(left, right)
    failed = _failed(((baseline, left, chosen.baseline), (candidate, right, chosen.candidate)))
    if failed:
        return _with(row, verdict="failed", note=failed), None
    if not left:
        return _with(row, verdict="new", note=f"{baseline.model} has no such result"), None
    sides = [left[seed] for seed in chosen.baseline], [right[seed] for seed in chosen.candidate]
    reference = sides[0][0]
    found = next(filter(None, (conflicts(reference, other) for other in (*sides[0], *sides[1]))), [])
    if found:
        return _with(row, verdict="not comparable", note="; ".join(map(str, found))), None
    try:
        difference = pooled_difference(
            [read_predictions(baseline.root, result) for result in sides[0]],
            [read_predictions(candidate.root, result) for result in sides[1]],
            headline,
            reference.scorer.version,
            same_seeds=chosen.same,
        )
        figures = [[_stored(result, headline) for result in side] for side in sides]
    except ResultError as error:
        return _with(row, verdict="not comparable", note=str(error)), None
    means = [fmean(metric.value for metric in side) for side in figures]
    if not isclose(means[1] - means[0], difference.delta, abs_tol=_SAME):
        note = f"the stored figures differ by {means[1] - means[0]:+.4f}, their predictions by {difference.delta:+.4f}"
        return _with(row, verdict="not comparable", note=f"{note}; run verify on both folders"), None
    row = _with(
        row,
        baseline=means[0],
        candidate=means[1],
        higher_is_better=figures[0][0].higher_is_better,
        difference=difference,
        note=chosen.note(difference),
    )
    if difference.n < rule.min_n:
        return _with(row, verdict="too few samples", note=f"{difference.n} of at least {rule.min_n}"), None
    return row, difference


def _stored(result: Result, headline: str) -> MetricValue:
    """The stored headline.

    Raises:
        ResultError: the result has no such figure.
    """
    try:
        return result.metric(headline)
    except KeyError as error:
        names = [metric.name for metric in result.metrics]
        found = f"{', '.join(names)} in {result.model.name}, seed {result.seed}"
        raise ResultError(f"the headline {headline} on both sides", found, "run both with one release") from error


def _failed(sides: Iterable[tuple[Side, dict[int, Result], tuple[int, ...]]]) -> str:
    """What the first failed result of the chosen seeds says, empty where none failed."""
    for side, results, seeds in sides:
        for seed in seeds:
            if results[seed].status == "failed":
                error = results[seed].error
                return f"{side.model}, seed {seed}: {error.message if error else ''}"
    return ""


def _decided(row: CellVerdict, difference: Difference, p_adjusted: float, policy: Policy) -> CellVerdict:
    verdict, needed = decide(difference, p_adjusted, row.margin, policy.alpha, row.higher_is_better)
    return _with(row, verdict=verdict, needed=needed, p_adjusted=p_adjusted)


def _with(row: CellVerdict, **changes: object) -> CellVerdict:
    return CellVerdict(**{**row.__dict__, **changes})


def run_check(baseline: str, candidate: str, policy: Policy) -> Check:
    """`check` on two places as the command line names them."""
    return check(read_side(baseline), read_side(candidate), policy)


def failures(cells: Sequence[CellVerdict]) -> list[CellVerdict]:
    """The cells that fail the check."""
    return [cell for cell in cells if cell.outcome == "fail"]
