"""Who is best in a column, where that is more than luck."""

from __future__ import annotations

from benchmark.errors import ResultError
from benchmark.metrics.significance import holm
from benchmark.results.store import read_predictions
from leaderboard.statistics import paired_difference
from leaderboard.tables import Column, Entry, mean_over_seeds

ALPHA = 0.05


def clear_winner(column: Column, alpha: float = ALPHA) -> str | None:
    """The model whose headline beats every other one's of the column; None where the best is not clear.

    Each comparison is a paired test on the same samples (the larger p-value where several seeds are shared), Holm's
    adjustment over the comparisons. Predictions that are gone, or samples that differ, leave the column unmarked.
    """
    models = list(column.cells)
    if len(models) < 2:
        return None
    sign = 1 if column.higher_is_better else -1
    ranked = sorted(models, key=lambda model: sign * mean_over_seeds(column.values(model)), reverse=True)
    best, others = ranked[0], ranked[1:]
    try:
        p_values = [_p_value(column, best, other, sign) for other in others]
    except ResultError:
        return None
    return best if max(holm(p_values)) < alpha else None


def _p_value(column: Column, best: str, other: str, sign: int) -> float:
    left = {entry.result.seed: entry for entry in column.cells[best]}
    right = {entry.result.seed: entry for entry in column.cells[other]}
    shared = sorted(left.keys() & right.keys())
    if not shared:
        return 1.0
    return max(_one(column.metric, right[seed], left[seed], sign) for seed in shared)


def _one(metric: str, baseline: Entry, candidate: Entry, sign: int) -> float:
    difference = paired_difference(
        read_predictions(baseline.root, baseline.result),
        read_predictions(candidate.root, candidate.result),
        metric,
        baseline.result.scorer.version,
    )
    return difference.p_value if sign * difference.delta > 0 else 1.0
