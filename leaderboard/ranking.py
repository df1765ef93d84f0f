"""One order from many columns: aggregates with intervals, and whether the differences between models are real.

Only columns that every model has take part: an average over columns that some lack compares other things for each
model. Which were left out is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmark.errors import ResultError
from leaderboard.tables import Column, mean_over_seeds

REPLICATES = 2000
ALPHA = 0.05


@dataclass(frozen=True)
class Scores:
    """Models by columns, higher is better everywhere.

    Attributes:
        models: R names.
        columns: C labels.
        values: (R, C), finite; headlines of which less is better are negated.
        left_out: labels of columns that some model lacks.
    """

    models: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aggregate:
    """A figure per model with its 95% interval over columns (bootstrap; NaN limits for a single column).

    Attributes:
        name: see `AGGREGATES`.
        higher_is_better: direction.
        values, low, high: (R,).
    """

    name: str
    higher_is_better: bool
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class RankTest:
    """Whether models differ in rank over the columns (Friedman 1937), and which pairs do (Demsar, JMLR 2006).

    Attributes:
        p_value: of Friedman's test that all models are equal.
        critical_difference: Nemenyi's: mean ranks that are nearer do not differ at 5%.
        groups: sets of models, best first, within which no two differ; maximal, as in a critical-difference diagram.
    """

    p_value: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]


def scores_of(columns: Sequence[Column], models: Sequence[str]) -> Scores:
    """The headlines of the models (mean over seeds) in the columns that all of them have.

    Raises:
        ResultError: fewer than two models, or no such column.
    """
    whole = [column for column in columns if all(model in column.cells for model in models)]
    if len(models) < 2 or not whole:
        found = f"{len(models)} models, {len(whole)} such columns of {len(columns)}"
        raise ResultError(
            "two models or more, and a column that all of them have", found, "run one suite on all of them"
        )
    signs = [1.0 if column.higher_is_better else -1.0 for column in whole]
    values = [
        [sign * mean_over_seeds(column.values(model)) for column, sign in zip(whole, signs, strict=True)]
        for model in models
    ]
    left_out = tuple(column.label for column in columns if column not in whole)
    return Scores(tuple(models), tuple(column.label for column in whole), np.array(values), left_out)


def rankable(columns: Sequence[Column], models: Sequence[str]) -> list[str]:
    """The models to rank where none has every column: those that have the most complete block of the board.

    Columns that more than half of the models have are kept, then the models that have all of these; where that leaves
    fewer than two models, the pair with the most columns in common decides which.
    """
    has: np.ndarray = np.array([[model in column.cells for column in columns] for model in models], dtype=bool)
    if len(models) < 2 or bool(has.all(axis=0).any()):
        return list(models)
    common = np.flatnonzero(has.mean(axis=0) > 0.5)
    whole = np.all(has[:, common], axis=1)
    if not len(common) or whole.sum() < 2:
        shared = has.astype(np.int64) @ has.T.astype(np.int64)
        np.fill_diagonal(shared, 0)
        first, second = np.unravel_index(int(shared.argmax()), shared.shape)
        whole = np.all(has[:, has[first] & has[second]], axis=1)
    return [model for model, keep in zip(models, whole, strict=True) if keep]


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each column, (R, C) to (R, C): 1 is best, equals share the mean of their ranks."""
    return stats.rankdata(-values, axis=0)


def _mean_rank(values: np.ndarray) -> np.ndarray:
    return ranks(values)


def _borda(values: np.ndarray) -> np.ndarray:
    """Points per column: the models below, half for equals, over those that could be below, in percent."""
    return 100.0 * (len(values) - ranks(values)) / (len(values) - 1)


def _z_score(values: np.ndarray) -> np.ndarray:
    spread = values.std(axis=0, ddof=1)
    centred = values - values.mean(axis=0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)


def _wins(values: np.ndarray) -> np.ndarray:
    """Whether a model is the best of a column, shared between equals, in percent."""
    best = values == values.max(axis=0)
    return 100.0 * best / best.sum(axis=0)


def _normalised(values: np.ndarray) -> np.ndarray:
    """0 for the worst of a column, 100 for its best."""
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = np.full_like(values, 50.0)
    return np.divide(100.0 * (values - low), high - low, out=scaled, where=high > low)


AGGREGATES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "mean rank": (_mean_rank, False),
    "Borda %": (_borda, True),
    "mean z-score": (_z_score, True),
    "win rate %": (_wins, True),
    "mean normalised": (_normalised, True),
}
"""Name -> (a figure per model and column, (R, C) to (R, C), whose mean over columns it is; whether more is better)."""


def aggregate(scores: Scores, name: str, replicates: int = REPLICATES, seed: int = 0) -> Aggregate:
    """One aggregate of all models, its interval from resampled columns (all models together)."""
    per_column, higher = AGGREGATES[name]
    figures = per_column(scores.values)
    columns = figures.shape[1]
    values = figures.mean(axis=1)
    if columns < 2:
        nothing = np.full(len(values), np.nan)
        return Aggregate(name, higher, values, nothing, nothing)
    drawn = np.random.default_rng(seed).integers(0, columns, (replicates, columns))
    low, high = np.quantile(figures[:, drawn].mean(axis=2), (0.025, 0.975), axis=1)
    return Aggregate(name, higher, values, low, high)


def rank_test(scores: Scores, alpha: float = ALPHA) -> RankTest | None:
    """Friedman's test and Nemenyi's groups; None below three models or two columns, where they have no meaning."""
    count, columns = scores.values.shape
    if count < 3 or columns < 2:
        return None
    mean = ranks(scores.values).mean(axis=1)
    told_apart = bool((scores.values.max(axis=0) > scores.values.min(axis=0)).any())
    p_value = float(stats.friedmanchisquare(*scores.values).pvalue) if told_apart else 1.0
    # The studentised range at infinitely many degrees of freedom, over the root of two.
    quantile = float(stats.studentized_range.ppf(1 - alpha, count, np.inf)) / np.sqrt(2.0)
    distance = quantile * float(np.sqrt(count * (count + 1) / (6.0 * columns)))
    return RankTest(p_value, distance, _groups(scores.models, mean, distance))


def _groups(models: Sequence[str], mean: np.ndarray, distance: float) -> tuple[tuple[str, ...], ...]:
    order = np.argsort(mean, kind="stable")
    found: list[tuple[int, int]] = []
    for start in range(len(order)):
        end = max(i for i in range(start, len(order)) if mean[order[i]] - mean[order[start]] < distance)
        if not found or end > found[-1][1]:
            found.append((start, end))
    return tuple(tuple(models[i] for i in order[start : end + 1]) for start, end in found)


def pareto(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Whether each point is on the front of least cost and most gain: no other is as good in both and better in one."""
    points = list(zip(costs, gains, strict=True))
    return [
        not any(c <= cost and g >= gain and (c < cost or g > gain) for c, g in points) for cost, gain in points
    ]  # fmt: skip


def correlations(scores: Scores) -> np.ndarray:
    """Kendall's tau-b between the orders of models in every two columns, (C, C); NaN where a column has one value."""
    columns = scores.values.shape[1]
    found = np.eye(columns)
    for i in range(columns):
        for j in range(i):
            found[i, j] = found[j, i] = stats.kendalltau(scores.values[:, i], scores.values[:, j]).statistic
    return found
