"""Accuracy as patches, frequencies or colours are taken away: curves with bands, a panel for each kind of change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median

import altair as alt

from benchmark.metrics.changes import Kind, curves, kinds_of
from leaderboard.charts.chart import (
    DASH,
    Chart,
    Row,
    Spec,
    View,
    banded,
    bare,
    data,
    panel,
    rounded,
    with_data,
    with_series,
)
from leaderboard.charts.study import Study, with_lines

_TITLES = {
    "drop": "patches dropped",
    "shuffle": "patches shuffled",
    "low-pass": "low frequencies alone",
    "high-pass": "high frequencies alone",
    "grey": "no colour",
    "hue": "hues turned",
}
_WIDTH = 760
_CAPTION = "Top-1 with 95% bands; dashed: the images as they are."


def one(study: Study) -> Chart:
    """The curves of a model."""
    caption = f"{_CAPTION} {_mean(study)} {_colour(study)}".strip()
    return Chart(_title(study), _filled([study]), caption, width=_WIDTH)


def several(studies: Sequence[Study]) -> Chart:
    """A curve for each model."""
    shown, rest = with_lines(studies)
    return Chart(_title(studies[0]), _filled(shown), f"{_CAPTION} {rest}".strip(), width=_WIDTH)


def points(study: Study) -> list[Row]:
    """A point for each kind and level, and one for the clean images.

    Fields: `series` the model, `kind`, `x` the level, `v` the accuracy in percent, `low` and `high` its 95% interval;
    of the clean images `part` and `v`.
    """
    found: list[Row] = [{"part": "clean", "series": study.model, "v": rounded(study.figure("top1").value)}]
    for kind, curve in curves(study.table).items():
        for level, value, low, high in zip(*curve, strict=True):
            figures = {"v": rounded(value), "low": rounded(low), "high": rounded(high)}
            found.append({"part": "curve", "series": study.model, "kind": kind, "x": float(level), **figures})
    return found


def spaced(kind: Kind) -> bool:
    """Whether levels are drawn at equal distances: where most of them crowd at the low end of the axis."""
    levels = [level for level in kind.levels if level > 0]
    return len(levels) > 2 and median(levels) < 0.3 * max(levels)


def _filled(studies: Sequence[Study]) -> Spec:
    kinds = kinds_of(studies[0].table)
    shown = tuple((name, kind.axis, () if spaced(kind) else _ticks(kind)) for name, kind in kinds.items())
    rows = [point for study in studies for point in points(study)]
    return with_data(_panels(shown, tuple(study.model for study in studies) if len(studies) > 1 else ()), rows)


def _ticks(kind: Kind) -> tuple[float, ...]:
    return tuple(sorted({*kind.levels, *([] if kind.clean is None else [kind.clean])}))


@cache
def _panels(kinds: Sequence[tuple[str, str, tuple[float, ...]]], series: Sequence[str]) -> Spec:
    return bare(alt.hconcat(*(_panel(*kind, series, len(kinds)) for kind in kinds), spacing=26))


def _panel(kind: str, axis: str, ticks: tuple[float, ...], series: Sequence[str], among: int) -> View:
    across = alt.X("x:O", title=axis, axis=alt.Axis(labelAngle=0))
    if ticks:
        ends = alt.Scale(nice=False, zero=False)
        across = alt.X("x:Q", title=axis, scale=ends, axis=alt.Axis(values=list(ticks)))
    # A predicate, not an expression: the name is whatever a table says.
    base = data().transform_filter(alt.FieldEqualPredicate(field="kind", equal=kind)).encode(x=across)
    clean = data().transform_filter("datum.part == 'clean'").mark_rule(strokeDash=DASH).encode(y=alt.Y("v:Q"))
    whole = alt.layer(with_series(clean, series), banded(base, "v", "top-1, %", series))
    return panel(whole, _TITLES.get(kind, kind), 330 if among < 3 else 240, 250)


def _title(study: Study) -> str:
    names: Mapping[str, Kind] = kinds_of(study.table)
    return f"Accuracy with {' and '.join(_TITLES.get(name, name) for name in names)}"


def _mean(study: Study) -> str:
    mean = study.figure("top1@changed")
    return f"Mean over the kinds of change {mean.value:.1f}, {study.figure('mean_drop').value:.1f} below clean images."


def _colour(study: Study) -> str:
    if "top1@histogram" not in study.figures:
        return ""
    alone, held = study.figure("top1@histogram").value, study.figure("r2@histogram").value
    return f"A colour histogram alone gives {alone:.1f}; features tell {held:.1f}% of its variance."
