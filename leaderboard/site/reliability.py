"""Reliability diagrams: the bins of the calibration error, as points."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.errors import ResultError
from benchmark.metrics.classification import BINS, calibration_bins
from benchmark.metrics.columns import by_draw, by_variant, integers, optional_floats
from benchmark.results.store import read_predictions
from leaderboard.tables import Entry

SERIES = {"": "as it is", "scaled_": "after temperature scaling"}


def reliability_points(entry: Entry) -> list[dict[str, Any]]:
    """Mean confidence and accuracy of every bin that has samples, in percent; empty without stored probabilities.

    Only of predictions without variants and draws: elsewhere there is no one diagram.
    """
    if not any(metric.name == "ece" for metric in entry.result.metrics):
        return []
    try:
        variants = by_variant(read_predictions(entry.root, entry.result))
        (_, rows), *others = variants
        _, _, tables = by_draw(rows)
    except ResultError:
        return []
    if others or len(tables) != 1:
        return []
    (table,) = tables
    hit = integers(table, "prediction") == integers(table, "target")
    points: list[dict[str, Any]] = []
    for prefix, series in SERIES.items():
        confidence = optional_floats(table, f"{prefix}confidence")
        if confidence is None:
            continue
        place = calibration_bins(confidence)
        count = np.bincount(place, minlength=BINS)
        for index in np.flatnonzero(count):
            inside = place == index
            points.append(
                {
                    "series": series,
                    "x": round(100 * float(confidence[inside].mean()), 2),
                    "y": round(100 * float(hit[inside].mean()), 2),
                    "n": int(count[index]),
                }
            )
    return points
