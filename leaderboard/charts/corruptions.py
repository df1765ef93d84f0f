"""Errors under corruptions: a heat map of one model; of several, a line and a small heat map each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import altair as alt

from benchmark.metrics.corruptions import EXTRA, GROUPS, MEAN, SEVERITIES, by_severity
from leaderboard.charts.chart import (
    Chart,
    Row,
    Spec,
    View,
    banded,
    bare,
    data,
    interval,
    rounded,
    with_data,
)
from leaderboard.charts.study import Study, with_lines

_GAP = 0.35  # rows between groups, and columns before the mean
_LAST = SEVERITIES + 1 + _GAP  # where the mean over severities stands
_PLAIN: dict[str, Any] = {"grid": False, "domain": False, "ticks": False, "labelPadding": 4, "labelOverlap": False}
CLEAN, TOGETHER = "clean", "all fifteen"
_NAMES = {"jpeg_compression": "JPEG compression"}


TITLE = "Error under corruptions"


def one(study: Study) -> Chart:
    """The heat map of a model: corruption by severity, in percent."""
    points = cells(study)
    extra = any(point["c"] in EXTRA for point in points)
    return Chart(TITLE, with_data(_map(extra), points), _caption(study))


def several(studies: Sequence[Study]) -> Chart:
    """A line for each model, its mean error by severity, above the heat maps on one scale."""
    shown, rest = with_lines(studies)
    points = [point for study in shown for point in [*line(study), *cells(study)]]
    extra = any(point.get("c") in EXTRA for point in points)
    caption = "Mean top-1 error over the fifteen corruptions, with 95% bands; severity 0 is the images as they are."
    whole = _compared(extra, [study.model for study in shown])
    return Chart(TITLE, with_data(whole, points), f"{caption} {rest}".strip(), width=760)


def cells(study: Study) -> list[Row]:
    """A cell for each corruption and severity, for the means over each, and for the clean images.

    Fields: `series` the model, `c` the corruption, `s` the severity (0: their mean), `v` the error in percent, `low`
    and `high` its 95% interval, and `x`, `y` where the cell stands.
    """
    severities, top1 = by_severity(study.table), study.figure("top1")
    places = rows_of(extra=EXTRA[0] in severities)
    found = [_cell(study, CLEAN, 0, (100 - top1.value, 100 - top1.ci_high, 100 - top1.ci_low), places)]
    for name, errors in severities.items():
        corruption = TOGETHER if name == MEAN else name
        for place, values in enumerate(zip(*errors, strict=True), 1):
            found.append(_cell(study, corruption, place, values, places))
        mean = study.figure("mean_error" if name == MEAN else f"error@{name}")
        found.append(_cell(study, corruption, 0, (mean.value, mean.ci_low, mean.ci_high), places))
    return found


def line(study: Study) -> list[Row]:
    """The mean error over the fifteen from clean images (severity 0) to severity 5, with the fields of `cells`."""
    top1, errors = study.figure("top1"), by_severity(study.table)[MEAN]
    values = [(100 - top1.value, 100 - top1.ci_high, 100 - top1.ci_low), *zip(*errors, strict=True)]
    return [
        {"part": "line", "series": study.model, "s": s, "v": rounded(v), "low": rounded(low), "high": rounded(high)}
        for s, (v, low, high) in enumerate(values)
    ]


def rows_of(extra: bool) -> Mapping[str, float]:
    """Where each row stands, from the top: clean images, the groups, the paper's further four, the mean."""
    found, place = {CLEAN: 0.0}, 1.0
    for group in (*GROUPS.values(), *([EXTRA] if extra else []), (TOGETHER,)):
        place += _GAP
        for name in group:
            found[name] = place
            place += 1
    return found


def _cell(
    study: Study, corruption: str, severity: int, values: tuple[float, float, float], places: Mapping[str, float]
) -> Row:
    value, low, high = map(rounded, values)
    where = {"x": severity or _LAST, "y": places[corruption]}
    row = {"part": "cell", "series": study.model, "c": corruption, "s": severity, **where}
    return {**row, "v": value, "low": low, "high": high}


def _caption(study: Study) -> str:
    mean, clean = study.figure("mean_error"), 100 - study.figure("top1").value
    said = [f"Top-1 error in percent. Clean {clean:.1f}; mean {mean.value:.1f} {interval(mean.ci_low, mean.ci_high)}"]
    published = [name for name in ("mCE", "relative_mCE") if name in study.figures]
    said += [f"{name.replace('_', ' ')} {study.figure(name).value:.1f}" for name in published]
    return "; ".join(said) + "."


def _label(corruption: str) -> str:
    return _NAMES.get(corruption, corruption.replace("_", " "))


def _headings(extra: bool) -> Iterator[tuple[str, float]]:
    places = rows_of(extra)
    for name, members in (*GROUPS.items(), *([("extra", EXTRA)] if extra else [])):
        yield name, (places[members[0]] + places[members[-1]]) / 2


@cache
def _map(extra: bool) -> Spec:
    heads = alt.Chart(alt.Data(values=[{"y": place, "group": name} for name, place in _headings(extra)]))
    groups = heads.mark_text(angle=270, fontWeight="bold").encode(
        x=alt.value(-132), y=_down("y", extra), text="group:N"
    )
    return bare(_heat(extra, 46, 21, ".1f") + groups)


def _heat(extra: bool, width: int, height: int, digits: str, side: Literal["top", "bottom"] = "top") -> View:
    """Cells of a width and height in pixels, severities at a side."""
    base = data().transform_filter("datum.part == 'cell'")
    rect = base.mark_rect().encode(
        x=_across("x0", side),
        x2="x1:Q",
        y=_down("y0", extra),
        y2="y1:Q",
        color=alt.Color(
            "v:Q",
            scale=alt.Scale(domain=[0, 100], scheme="yelloworangered"),
            legend=alt.Legend(title="error, %", gradientLength=160),
        ),
        tooltip=[
            alt.Tooltip("c:N", title="corruption"),
            alt.Tooltip("s:Q", title="severity (0: mean)"),
            alt.Tooltip("v:Q", title="error, %", format=".1f"),
            alt.Tooltip("low:Q", title="from", format=".1f"),
            alt.Tooltip("high:Q", title="to", format=".1f"),
        ],
    )
    text = base.mark_text(fontSize=max(8, min(11, height // 2))).encode(
        x=_across("x", side),
        y=_down("y", extra),
        text=alt.Text("v:Q", format=digits),
        color=alt.condition("datum.v > 58", alt.value("white"), alt.value("black")),
    )
    edges = {"x0": "datum.x - 0.48", "x1": "datum.x + 0.48", "y0": "datum.y - 0.46", "y1": "datum.y + 0.46"}
    cellular = alt.layer(rect, text)
    for name, formula in edges.items():
        cellular = cellular.transform_calculate(name, formula)
    rows = max(rows_of(extra).values()) + 1
    return cellular.properties(width=round(width * (_LAST + 0.5)), height=round(height * rows))


def _across(field: str, side: Literal["top", "bottom"]) -> alt.X:
    """Severities, and their mean. As `_down`, every layer needs it in full, or half of the labels are left out."""
    scale = alt.Scale(domain=[0.5, _LAST + 0.5], nice=False, zero=False)
    label = f"datum.value > {SEVERITIES} ? 'mean' : datum.value"
    axis = alt.Axis(orient=side, values=[*range(1, SEVERITIES + 1), _LAST], labelExpr=label, **_PLAIN)
    return alt.X(f"{field}:Q", title="severity", scale=scale, axis=axis)


def _down(field: str, extra: bool) -> alt.Y:
    """A row for each corruption, named."""
    places = rows_of(extra)
    scale = alt.Scale(domain=[-0.5, max(places.values()) + 0.5], nice=False, zero=False, reverse=True)
    named = ", ".join(f"'{place:.2f}': '{_label(name)}'" for name, place in places.items())
    label = f"{{{named}}}[format(datum.value, '.2f')]"
    axis = alt.Axis(values=list(places.values()), labelExpr=label, **_PLAIN)
    return alt.Y(f"{field}:Q", title=None, scale=scale, axis=axis)


def _compared(extra: bool, models: Sequence[str]) -> Spec:
    across = alt.X("s:Q", title="severity", axis=alt.Axis(values=list(range(SEVERITIES + 1)), format="d"))
    base = data().transform_filter("datum.part == 'line'").encode(x=across)
    curves = banded(base, "v", "mean error, %", models).properties(width=560, height=300)
    maps = _heat(extra, 25, 15, ".0f", "bottom").facet(
        facet=alt.Facet("series:N", sort=list(models), title=None), columns=min(4, len(models)), spacing=18
    )
    return bare(alt.vconcat(curves, maps, spacing=30).resolve_scale(color="independent", shape="independent"))
