"""How sure a classifier may be: reliability diagrams with the images in each bin, and risk-coverage curves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import altair as alt
import numpy as np
import pyarrow as pa

from benchmark.errors import ResultError
from benchmark.metrics import intervals
from benchmark.metrics.classification import BINS, calibration_bins
from benchmark.metrics.columns import by_draw, by_variant, integers, optional_floats
from benchmark.metrics.selective import risk_coverage
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

SERIES = {"": "as it is", "scaled_": "after temperature scaling"}
"""Prefix of the columns of probabilities -> what they are."""
_SHOWN = 80
_FIRST = 0.02
"""Of the surest images, the share below which a risk is that of a handful and jumps."""
_SIDE = 250
_WIDTH = 900
_BINS = "Accuracy in 15 bins of confidence, with 95% intervals: on the diagonal the model means what it says."
_RISK = "Right: error among the images it is surest of, when it answers so many of them."


def one(study: Study) -> Chart:
    """Reliability before and after temperature scaling, with counts, and the risk-coverage curve."""
    rows = [{**row, "series": row["scaling"]} for row in (*bins(study.table), *risks(study.table))]
    caption = " ".join((_BINS, "Below: images in each bin.", _RISK, _errors(study)))
    return Chart("Calibration", with_data(_whole(), rows), caption, width=_WIDTH)


def reliable(study: Study) -> Chart | None:
    """The reliability diagrams of a result with probabilities; None of one that has none, or several draws."""
    rows = [{**row, "series": row["scaling"]} for row in bins(study.table)]
    if not rows:
        return None
    scaled = any(row["scaling"] == SERIES["scaled_"] for row in rows)
    caption = f"{_BINS} Below: images in each bin. {_errors(study)}"
    return Chart("Calibration", with_data(_reliability(scaled), rows), caption)


def several(studies: Sequence[Study]) -> Chart:
    """A line for each model."""
    shown, rest = with_lines(studies)
    rows = [row for study in shown for row in _slim(study)]
    spec = with_data(_compared(tuple(study.model for study in shown)), rows)
    return Chart("Calibration", spec, f"{_BINS} {_RISK} {rest}".strip(), width=_WIDTH)


def _slim(study: Study) -> list[Row]:
    """What lines of several models need: no counts, and the risk before temperature scaling."""
    fields = ("part", "scaling", "x", "y")
    rows = [*bins(study.table), *(row for row in risks(study.table) if row["scaling"] == SERIES[""])]
    return [{"series": study.model, **{field: row[field] for field in fields}} for row in rows]


def bins(table: pa.Table) -> list[Row]:
    """The bins of the calibration error that have samples; none without stored probabilities.

    Only of predictions without variants and draws: elsewhere there is no one diagram. Fields: `scaling`, `x` mean
    confidence and `y` accuracy in percent, `low` and `high` the 95% interval of that, `n` samples, `from` and `to` the
    bin's edges.
    """
    rows = _rows(table)
    if rows is None:
        return []
    hit = integers(rows, "prediction") == integers(rows, "target")
    found: list[Row] = []
    for prefix, scaling in SERIES.items():
        confidence = optional_floats(rows, f"{prefix}confidence")
        if confidence is None:
            continue
        place = calibration_bins(confidence)
        count = np.bincount(place, minlength=BINS)
        for index in np.flatnonzero(count):
            inside = place == index
            low, high = intervals.wilson(hit[inside].mean(), count[index])
            found.append(
                {
                    "part": "bin",
                    "scaling": scaling,
                    "x": rounded(100 * confidence[inside].mean(), 2),
                    "y": rounded(100 * hit[inside].mean(), 2),
                    "low": rounded(100 * float(low), 2),
                    "high": rounded(100 * float(high), 2),
                    "n": int(count[index]),
                    "from": rounded(100 * index / BINS, 2),
                    "to": rounded(100 * (index + 1) / BINS, 2),
                }
            )
    return found


def risks(table: pa.Table) -> list[Row]:
    """Error `y` at coverages `x` up to all images, in percent, by `scaling`; none where sureness was not stored."""
    rows = _rows(table)
    if rows is None or "log_odds" not in rows.column_names:
        return []
    wrong = integers(rows, "prediction") != integers(rows, "target")
    found: list[Row] = []
    for prefix, scaling in SERIES.items():
        odds = optional_floats(rows, f"{prefix}log_odds")
        if odds is None:
            continue
        risk = risk_coverage(odds, wrong).risk
        places = np.unique(np.linspace(max(1, _FIRST * len(risk)), len(risk), _SHOWN).astype(np.int64))
        found += [
            {
                "part": "risk",
                "scaling": scaling,
                "x": rounded(100 * place / len(risk), 2),
                "y": rounded(100 * risk[place - 1], 3),
            }
            for place in places.tolist()
        ]
    return found


def _rows(table: pa.Table) -> pa.Table | None:
    """The rows of a table of one variant and draw that has probabilities."""
    if "confidence" not in table.column_names:
        return None
    try:
        (_, rows), *others = by_variant(table)
        _, _, tables = by_draw(rows)
    except ResultError:
        return None
    return None if others or len(tables) != 1 else tables[0]


def _errors(study: Study) -> str:
    """The calibration errors, where they are among the figures."""
    named = {"ece": "Calibration error", "ece@ts": "after temperature scaling"}
    figures = [(said, study.figure(name)) for name, said in named.items() if name in study.figures]
    said = ", ".join(f"{what} {one.value:.1f} {interval(one.ci_low, one.ci_high)}" for what, one in figures)
    return f"{said}." if said else ""


@cache
def _reliability(scaled: bool) -> Spec:
    return bare(alt.hconcat(*_diagrams(scaled), spacing=30))


@cache
def _whole() -> Spec:
    whole = alt.hconcat(*_diagrams(True), _risk(tuple(SERIES.values())), spacing=30)
    return bare(whole.resolve_scale(color="independent"))  # the legend of one is not that of all


def _compared(models: Sequence[str]) -> Spec:
    panels = []
    for scaling in SERIES.values():
        base = _binned(scaling)
        dots = base.mark_point(filled=True, size=40, opacity=1)
        lines = alt.layer(_diagonal(), with_series(base.mark_line(), models), with_series(dots, models, marks=True))
        panels.append(panel(lines, scaling, _SIDE, _SIDE))
    return bare(alt.hconcat(*panels, _risk(models), spacing=30))


def _diagrams(scaled: bool) -> list[View]:
    """For each scaling the reliability diagram above the counts."""
    names = tuple(SERIES.values())
    found = []
    for scaling in names[: 2 if scaled else 1]:
        base = _binned(scaling)
        tips = [
            alt.Tooltip("x:Q", format=".1f", title="mean confidence, %"),
            alt.Tooltip("y:Q", format=".1f", title="accuracy, %"),
            alt.Tooltip("n:Q", title="images"),
        ]
        gaps = base.mark_rule(opacity=0.3, strokeWidth=5).encode(y2="x:Q")
        limits = base.mark_rule(strokeWidth=1.2).encode(y=alt.Y("low:Q"), y2="high:Q")
        dots = base.mark_point(filled=True, size=45, opacity=1).encode(tooltip=tips)
        lines = (with_series(each, names, legend=False) for each in (gaps, base.mark_line(), limits, dots))
        above = panel(alt.layer(_diagonal(), *lines), scaling, _SIDE, _SIDE)
        counts = (
            _of_bins(scaling)
            .mark_bar(binSpacing=1)
            .encode(
                x=alt.X("from:Q", bin="binned", title="confidence, %", scale=alt.Scale(domain=[0, 100])),
                x2="to:Q",
                y=alt.Y("n:Q", title="images", axis=alt.Axis(tickCount=3)),
                tooltip=tips,
            )
            .properties(width=_SIDE, height=60)
        )
        found.append(alt.vconcat(above, with_series(counts, names, legend=False), spacing=6))
    return found


def _of_bins(scaling: str) -> View:
    return data().transform_filter(f"datum.part == 'bin' && datum.scaling == '{scaling}'")


def _binned(scaling: str) -> View:
    limits = alt.Scale(domain=[0, 100])
    return _of_bins(scaling).encode(
        x=alt.X("x:Q", title="confidence, %", scale=limits), y=alt.Y("y:Q", title="accuracy, %", scale=limits)
    )


def _diagonal() -> View:
    ends = alt.Data(values=[{"x": 0, "y": 0}, {"x": 100, "y": 100}])
    return alt.Chart(ends).mark_line(strokeDash=DASH, opacity=0.5, color="#888").encode(x="x:Q", y="y:Q")


def _risk(series: Sequence[str]) -> View:
    chart = (
        data()
        .transform_filter("datum.part == 'risk'")
        .mark_line()
        .encode(
            x=alt.X("x:Q", title="images answered, %", scale=alt.Scale(domain=[0, 100])),
            y=alt.Y("y:Q", title="error, %", scale=alt.Scale(domainMin=0)),
        )
    )
    return panel(with_series(chart, series), "selective risk", _SIDE, _SIDE)
