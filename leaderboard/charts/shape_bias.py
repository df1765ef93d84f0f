"""Shape or texture by category, as drawn by Geirhos et al. (ICLR 2019, figure 4): shape left, texture right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import fmean

import altair as alt

from benchmark.metrics.names import split_name
from leaderboard.charts.chart import Chart, Row, Spec, bare, data, interval, rounded, with_data, with_series
from leaderboard.charts.study import Study, with_lines

TITLE = "Shape or texture"
_CAPTION = "Decisions for the shape among those for shape or texture, by category of the shape; lines: all categories."


def one(study: Study) -> Chart:
    """The dots of a model, with intervals."""
    whole = study.figure("shape_bias")
    said = f"{_CAPTION} Shape bias {whole.value:.1f} {interval(whole.ci_low, whole.ci_high)}."
    return Chart(TITLE, _filled([study]), said)


def several(studies: Sequence[Study]) -> Chart:
    """Dots of each model's colour."""
    shown, rest = with_lines(studies)
    return Chart(TITLE, _filled(shown), f"{_CAPTION} {rest}".strip())


def points(study: Study) -> list[Row]:
    """A dot for each category, and the whole. Fields: `series`, `c` category, `v` percent, `low`, `high`, `n`."""
    found: list[Row] = []
    for name, figure in study.figures.items():
        base, category = split_name(name)
        if base == "shape_bias":
            limits = {"low": rounded(figure.ci_low), "high": rounded(figure.ci_high), "n": figure.n}
            part = {"part": "category", "c": category} if category else {"part": "all"}
            found.append({**part, "series": study.model, "v": rounded(figure.value), **limits})
    return found


def _filled(studies: Sequence[Study]) -> Spec:
    rows = [point for study in studies for point in points(study)]
    by_category: dict[str, list[float]] = {}
    for row in rows:
        if row["part"] == "category":
            by_category.setdefault(row["c"], []).append(row["v"])
    order = tuple(sorted(by_category, key=lambda name: (-fmean(by_category[name]), name)))
    return with_data(_dots(order, tuple(study.model for study in studies) if len(studies) > 1 else ()), rows)


@cache
def _dots(categories: Sequence[str], series: Sequence[str]) -> Spec:
    scale = alt.Scale(domain=[0, 100], reverse=True)
    across = alt.X("v:Q", title="decisions for the shape, % (the rest: for the texture)", scale=scale)
    rows = alt.Y("c:N", title=None, sort=list(categories), axis=alt.Axis(grid=True))
    each = data().transform_filter("datum.part == 'category'")
    tips = [
        alt.Tooltip("series:N", title="model"),
        alt.Tooltip("c:N", title="category"),
        alt.Tooltip("v:Q", title="shape, %", format=".1f"),
    ]
    dots = each.mark_point(filled=True, size=70, opacity=0.9).encode(x=across, y=rows, tooltip=tips)
    whole = data().transform_filter("datum.part == 'all'").mark_rule(strokeWidth=2).encode(x=across)
    parts = [with_series(whole, series), with_series(dots, series, marks=True)]
    if not series:
        limits = each.mark_rule(opacity=0.4).encode(x=alt.X("low:Q"), x2="high:Q", y=rows)
        parts.insert(1, limits)
    return bare(alt.layer(*parts).properties(width=420, height=22 * max(3, len(categories))))
