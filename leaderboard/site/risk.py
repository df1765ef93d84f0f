"""Risk-coverage curves: the error among the images that a classifier is surest of, as points."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.errors import ResultError
from benchmark.metrics.columns import by_draw, integers, optional_floats
from benchmark.metrics.selective import risk_coverage
from benchmark.results.store import read_predictions
from leaderboard.site.reliability import SERIES
from leaderboard.tables import Entry

_SHOWN = 100
_FIRST = 0.02
"""Of the surest images, the share below which a risk is that of a handful and jumps."""


def risk_points(entry: Entry) -> list[dict[str, Any]]:
    """Error at coverages up to all images, in percent; empty for other results than those of calibration."""
    if entry.result.scorer.name != "calibration":
        return []
    try:
        _, _, (table,) = by_draw(read_predictions(entry.root, entry.result))
    except ResultError:
        return []
    wrong = integers(table, "prediction") != integers(table, "target")
    points: list[dict[str, Any]] = []
    for prefix, series in SERIES.items():
        odds = optional_floats(table, f"{prefix}log_odds")
        if odds is None:
            continue
        risk = risk_coverage(odds, wrong).risk
        places = np.unique(np.linspace(max(1, _FIRST * len(risk)), len(risk), _SHOWN).astype(np.int64))
        points += [
            {
                "series": series,
                "x": round(100 * place / len(risk), 2),
                "y": round(100 * float(risk[place - 1]), 3),
            }
            for place in places.tolist()
        ]
    return points
