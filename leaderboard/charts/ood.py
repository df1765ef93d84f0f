"""Images of something else: ROC curves of each score, or of each model a panel per score."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import altair as alt
import numpy as np
from sklearn.metrics import roc_curve

from benchmark.metrics.columns import by_variant, column
from benchmark.metrics.ood import SCORES, SETS
from benchmark.metrics.separation import RECALL
from leaderboard.charts.chart import (
    DASH,
    Chart,
    Row,
    Spec,
    View,
    bare,
    data,
    interval,
    panel,
    rounded,
    with_data,
    with_series,
)
from leaderboard.charts.study import Study, with_lines

NAMES = {"knn": "nearest neighbours", "energy": "energy", "msp": "largest probability"}
TITLE = "Images of something else"
_CAPTION = f"Images of the dataset found against others taken for them; dashed: {100 * RECALL:.0f}% found, and chance."
_SHOWN = 60
_SIDE = 300


def one(study: Study) -> Chart:
    """A curve for each score."""
    names = tuple(NAMES[score] for score in SCORES)
    rows = [{**row, "series": row["score"]} for row in points(study)]
    areas = ((NAMES[score], study.figure(f"auroc@{score}")) for score in SCORES)
    said = ", ".join(f"{name} {area.value:.1f} {interval(area.ci_low, area.ci_high)}" for name, area in areas)
    return Chart(TITLE, with_data(_single(names), rows), f"{_CAPTION} Area under the curve: {said}.")


def several(studies: Sequence[Study]) -> Chart:
    """A panel for each score, a curve for each model."""
    shown, rest = with_lines(studies)
    rows = [row for study in shown for row in points(study)]
    return Chart(
        TITLE, with_data(_panels(tuple(study.model for study in shown)), rows), f"{_CAPTION} {rest}".strip(), width=980
    )


def points(study: Study) -> list[Row]:
    """Points of the ROC curves. Fields: `series` the model, `score`, `x` false and `y` true positives in percent."""
    parts = dict(by_variant(study.table))
    found: list[Row] = []
    for score in SCORES:
        inside, outside = (column(parts[which], score).to_numpy() for which in SETS)
        is_inside = np.repeat([1, 0], [len(inside), len(outside)])
        x, y, _ = roc_curve(is_inside, np.concatenate([inside, outside]))
        # As many points as can be seen, at equal steps along the curve.
        along = np.concatenate([[0], np.cumsum(np.diff(x) + np.diff(y))])
        places = np.unique(np.searchsorted(along, np.linspace(0, along[-1], _SHOWN)).clip(max=len(x) - 1))
        for a, b in zip(x[places].tolist(), y[places].tolist(), strict=True):
            row = {"series": study.model, "score": NAMES[score], "x": rounded(100 * a, 2), "y": rounded(100 * b, 2)}
            found.append(row)
    return found


@cache
def _single(names: Sequence[str]) -> Spec:
    return bare(_curves("true", names).properties(width=_SIDE + 40, height=_SIDE + 40))


@cache
def _panels(models: Sequence[str]) -> Spec:
    found = (panel(_curves(f"datum.score == '{name}'", models), name, _SIDE, _SIDE) for name in NAMES.values())
    return bare(alt.hconcat(*found, spacing=26))


def _curves(which: str, series: Sequence[str]) -> View:
    limits = alt.Scale(domain=[0, 100])
    x = alt.X("x:Q", title="others taken for images of the dataset, %", scale=limits)
    y = alt.Y("y:Q", title="images of the dataset found, %", scale=limits)
    ends = alt.Data(values=[{"x": 0, "y": 0}, {"x": 100, "y": 100}])
    chance = alt.Chart(ends).mark_line(strokeDash=DASH, opacity=0.5, color="#888").encode(x=x, y=y)
    recall = alt.Chart(alt.Data(values=[{"y": 100 * RECALL}]))
    found = recall.mark_rule(strokeDash=DASH, opacity=0.5, color="#888").encode(y=y)
    lines = data().transform_filter(which).mark_line().encode(x=x, y=y, order=alt.Order("x:Q"))
    return alt.layer(chance, found, with_series(lines, series))
