"""Accuracy on images from elsewhere against clean accuracy: a dot for each model, the diagonal, and the trend."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import numpy as np

from leaderboard.charts.chart import LINES, Chart, Row, Spec, bare, data, rounded, with_data
from leaderboard.charts.study import Study, with_lines
from leaderboard.effective import trend_of

_SIDE = 340
_STEPS = 41
TITLE = "Accuracy on images from elsewhere"
_CAPTION = "Top-1 with 95% intervals; dashed: as good as on clean images."


def one(study: Study) -> Chart:
    """The dot of a model below the diagonal."""
    drop = study.figure("drop")
    return Chart(TITLE, _filled([study]), f"{_CAPTION} Drop {drop.value:.1f} [{drop.ci_low:.1f}, {drop.ci_high:.1f}].")


def several(studies: Sequence[Study]) -> Chart:
    """A dot for each model, and of three or more their trend; names of a dozen at most."""
    caption = _CAPTION
    if trend_of(pairs(studies)) is not None:
        caption += " Line: the trend, straight on logit scales (Taori et al. 2020); above it is effective robustness."
    if len(studies) > LINES:
        caption += f" Names of the best {LINES} of {len(studies)}."
    return Chart(TITLE, _filled(studies), caption)


def pairs(studies: Sequence[Study]) -> dict[str, tuple[float, float]]:
    """Model -> (clean, shifted) top-1 in percent."""
    return {study.model: (study.figure("top1@clean").value, study.figure("top1").value) for study in studies}


def points(studies: Sequence[Study]) -> list[Row]:
    """Dots with `x` clean and `y` shifted accuracy, their 95% intervals, and the name of the best dozen; the trend."""
    named = {study.model for study in with_lines(studies)[0]}
    found: list[Row] = []
    for study in studies:
        clean, shifted = study.figure("top1@clean"), study.figure("top1")
        limits = {"x0": clean.ci_low, "x1": clean.ci_high, "y0": shifted.ci_low, "y1": shifted.ci_high}
        row = {"part": "model", "series": study.model, "x": rounded(clean.value), "y": rounded(shifted.value)}
        label = study.model if study.model in named else ""
        found.append({**row, **{name: rounded(value) for name, value in limits.items()}, "label": label})
    trend = trend_of(pairs(studies))
    if trend is not None:
        clean_of = [row["x"] for row in found]
        across = np.linspace(min(clean_of), max(clean_of), _STEPS)
        found += [
            {"part": "trend", "x": rounded(x), "y": rounded(y)} for x, y in zip(across, trend.at(across), strict=True)
        ]
    return found


def _filled(studies: Sequence[Study]) -> Spec:
    rows = points(studies)
    dots = [row for row in rows if row["part"] == "model"]
    low = min(min(row["x0"], row["y0"]) for row in dots)
    high = max(max(row["x1"], row["y1"]) for row in dots)
    # One scale for both axes, in tens: the diagonal is to be one.
    ends = max(0, 10 * math.floor(low / 10)), min(100, 10 * math.ceil(high / 10))
    return with_data(_scatter(*ends), rows)


def _scatter(low: int, high: int) -> Spec:
    limits = alt.Scale(domain=[low, high], nice=False, zero=False)
    x = alt.X("x:Q", title="clean images, same classes: top-1, %", scale=limits)
    y = alt.Y("y:Q", title="images from elsewhere: top-1, %", scale=limits)
    ends = alt.Data(values=[{"x": low, "y": low}, {"x": high, "y": high}])
    diagonal = alt.Chart(ends).mark_line(strokeDash=[5, 3], opacity=0.5, color="#888").encode(x=x, y=y)
    trend = data().transform_filter("datum.part == 'trend'").mark_line(opacity=0.6, color="#888").encode(x=x, y=y)
    models = data().transform_filter("datum.part == 'model'")
    across = models.mark_rule(opacity=0.5).encode(x=alt.X("x0:Q"), x2="x1:Q", y=y)
    along = models.mark_rule(opacity=0.5).encode(x=x, y=alt.Y("y0:Q"), y2="y1:Q")
    tips = [
        alt.Tooltip("series:N", title="model"),
        alt.Tooltip("x:Q", title="clean", format=".1f"),
        alt.Tooltip("y:Q", title="shifted", format=".1f"),
    ]
    dots = models.mark_circle(size=70, opacity=1).encode(x=x, y=y, tooltip=tips)
    names = models.mark_text(align="left", dx=7, dy=-7, fontSize=11, limit=170).encode(x=x, y=y, text="label:N")
    return bare((diagonal + trend + across + along + dots + names).properties(width=_SIDE, height=_SIDE))
