"""Every pair of models of a column, compared sample by sample in one go; and who is best where that is no luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmark.errors import ResultError
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.significance import holm, mcnemar_of_many
from benchmark.results.store import read_predictions
from leaderboard.statistics import estimate_of, pooled_estimate
from leaderboard.tables import Column, Entry, mean_over_seeds

ALPHA = 0.05
_Z = 1.959963984540054  # of a 95% interval


@dataclass(frozen=True)
class Pairs:
    """Models of one column against each other.

    Attributes:
        models: the M that were tested, best first.
        delta: (M, M), the row's headline minus the column's, in the metric's unit.
        half: (M, M), half of the 95% interval of `delta` over samples (normal).
        p_value: (M, M), two-sided: exact McNemar where every sample is right or wrong, else a paired z-test.
        untested: models of which predictions are gone, hold other samples, or were not asked for; best first.
    """

    models: tuple[str, ...]
    delta: np.ndarray
    half: np.ndarray
    p_value: np.ndarray
    untested: tuple[str, ...] = ()


def best_first(column: Column) -> list[str]:
    """The models of a column that have a figure, by its mean over seeds."""
    sign = -1 if column.higher_is_better else 1
    return sorted(column.cells, key=lambda model: sign * mean_over_seeds(column.values(model)))


def compare_all(column: Column, models: Sequence[str] | None = None) -> Pairs:
    """Compares all models of a column, or some, each with each.

    What several seeds say of a sample is pooled. Models whose samples or seeds are not those of the best one (other
    episodes, other random draws, whose own error no test over samples sees; predictions that are gone) are listed as
    untested.

    Raises:
        ResultError: a stored headline is not what its predictions give.
    """
    ranked = best_first(column)
    estimates: dict[str, Estimate] = {}
    for model in ranked:
        if models is not None and model not in models:
            continue
        found = _estimate(column.cells[model], column.metric)
        first = next(iter(estimates), None)
        if found is not None and (
            first is None or (_same_units(found, estimates[first]) and _seeds(column, model) == _seeds(column, first))
        ):
            estimates[model] = found
    tested = tuple(estimates)
    untested = tuple(model for model in ranked if model not in estimates)
    if not tested:
        nothing = np.zeros((0, 0))
        return Pairs((), nothing, nothing, nothing, untested)
    values = np.array([estimate.value for estimate in estimates.values()])
    return Pairs(tested, values[:, None] - values, *_tests(list(estimates.values()), values), untested)


def clear_winner(column: Column, pairs: Pairs | None = None, alpha: float = ALPHA) -> str | None:
    """The model whose headline beats every other one's of the column; None where the best is not clear.

    Each comparison is a paired test on the same samples, Holm's adjustment over the comparisons. A model that could
    not be tested is beaten where its interval lies wholly on the other side.
    """
    if len(column.cells) < 2:
        return None
    pairs = compare_all(column) if pairs is None else pairs
    best = best_first(column)[0]
    if not pairs.models or pairs.models[0] != best:
        return None
    if len(pairs.models) > 1 and max(holm(pairs.p_value[0, 1:].tolist())) >= alpha:
        return None
    return best if all(_apart(column, best, other) for other in pairs.untested) else None


def _apart(column: Column, best: str, other: str) -> bool:
    """Whether the intervals of two models do not touch, whichever seed is looked at."""
    mine, theirs = column.values(best), column.values(other)
    if column.higher_is_better:
        return min(value.ci_low for value in mine) > max(value.ci_high for value in theirs)
    return max(value.ci_high for value in mine) < min(value.ci_low for value in theirs)


def _estimate(entries: Sequence[Entry], metric: str) -> Estimate | None:
    """The headline of one model over its seeds; None where its predictions cannot be had or differ in their samples."""
    try:
        version = entries[0].result.scorer.version
        seeds = [estimate_of(read_predictions(entry.root, entry.result), metric, version) for entry in entries]
        found = pooled_estimate(seeds)
    except ResultError:
        return None
    for entry, estimate in zip(entries, seeds, strict=True):
        _check_stored(entry, estimate)
    return found if found.linear() is not None else None


def _check_stored(entry: Entry, estimate: Estimate) -> None:
    """Stops at a headline that its own predictions do not give: somebody edited the result."""
    result = entry.result
    stored = result.metric(estimate.name).value
    if not math.isclose(stored, estimate.value, rel_tol=1e-9, abs_tol=1e-9):
        cell = f"{result.model.name} · {result.task} · {result.data.name}"
        raise ResultError(
            f"the {estimate.name} that the predictions of {cell} give, {estimate.value:.4f}",
            f"{stored:.4f} stored in {entry.root}",
            "run `verify` on that folder, and do not trust this result",
        )


def _seeds(column: Column, model: str) -> list[int]:
    return [entry.result.seed for entry in column.cells[model]]


def _same_units(left: Estimate, right: Estimate) -> bool:
    return np.array_equal(left.units, right.units) and np.array_equal(left.strata, right.strata)


def _tests(estimates: Sequence[Estimate], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(half widths, p-values) from the products of contributions: no loop over pairs or samples."""
    rows = np.stack([row for estimate in estimates if (row := estimate.linear()) is not None])
    n = rows.shape[1]
    centred = rows - rows.mean(axis=1, keepdims=True)
    products = centred @ centred.T
    own = np.diag(products)
    variance = np.maximum(own[:, None] + own - 2.0 * products, 0.0) / n
    error = np.sqrt(variance / n)
    if all(estimate.binary for estimate in estimates):
        right = rows / 100.0
        both = right @ right.T
        only = np.rint(right.sum(axis=1)[:, None] - both).astype(np.int64)
        return _Z * error, mcnemar_of_many(only, only.T)
    delta = np.abs(values[:, None] - values)
    z = np.divide(delta, error, out=np.where(delta > 0, np.inf, 0.0), where=error > 0)
    return _Z * error, 2.0 * stats.norm.sf(z)
