"""Accuracy under attack against the radius: a line for each attack, or for each model a panel per attack."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import altair as alt

from benchmark.metrics.adversarial import KINDS
from benchmark.metrics.names import split_name
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

NAMES = {"fgsm": "FGSM", "pgd": "PGD", "autoattack": "AutoAttack"}
TITLE = "Accuracy under attack"
_CAPTION = "Top-1 with 95% intervals; the radius is in the maximum norm; dashed: the images as they are."


def one(study: Study) -> Chart:
    """A line for each attack on a model."""
    rows = points(study)
    attacks = tuple(dict.fromkeys(row["attack"] for row in rows if row["part"] == "curve"))
    spec = with_data(_lines(attacks), [{**row, "series": row.get("attack")} for row in rows])
    return Chart(TITLE, spec, f"{_CAPTION} {_fewer(study)}".strip())


def several(studies: Sequence[Study]) -> Chart:
    """A panel for each attack, a line for each model."""
    shown, rest = with_lines(studies)
    rows = [row for study in shown for row in points(study)]
    attacks = tuple(dict.fromkeys(row["attack"] for row in rows if row["part"] == "curve"))
    spec = with_data(_panels(attacks, tuple(study.model for study in shown)), rows)
    return Chart(TITLE, spec, f"{_CAPTION} {_fewer(studies[0])} {rest}".strip(), width=290 * len(attacks))


def points(study: Study) -> list[Row]:
    """A point for each attack and radius, radius 0 being the clean images where all of them were attacked.

    Fields: `series` the model, `attack`, `x` the radius in 255ths, `v` the accuracy in percent, `low` and `high` its
    95% interval.
    """
    clean = study.figure("top1")
    found: list[Row] = [{"part": "clean", "series": study.model, "v": rounded(clean.value)}]
    radii = sorted((KINDS.index(kind), eps) for kind, eps in map(_attack, study.figures) if kind)
    for place, eps in radii:
        figure = study.figure(f"top1@{KINDS[place]}-{eps:g}")
        row = {"part": "curve", "series": study.model, "attack": NAMES[KINDS[place]]}
        if figure.n == clean.n and not any(other.get("attack") == row["attack"] for other in found):
            found.append({**row, "x": 0.0, "v": rounded(clean.value), **_limits(clean.ci_low, clean.ci_high)})
        found.append({**row, "x": eps, "v": rounded(figure.value), **_limits(figure.ci_low, figure.ci_high)})
    return found


def _attack(metric: str) -> tuple[str, float]:
    """Kind and radius of `top1@pgd-4`; an empty kind for the clean images."""
    kind, _, eps = split_name(metric)[1].rpartition("-")
    return (kind, float(eps)) if kind else ("", 0.0)


def _limits(low: float, high: float) -> Row:
    return {"low": rounded(low), "high": rounded(high)}


def _fewer(study: Study) -> str:
    """Which attacks were not made on all images."""
    clean = study.figure("top1").n
    fewer = {kind: study.figure(f"top1@{kind}-{eps:g}").n for kind, eps in map(_attack, study.figures) if kind}
    return " ".join(f"{NAMES[kind]} on {n:,} of {clean:,} images." for kind, n in fewer.items() if n < clean)


@cache
def _lines(attacks: Sequence[str]) -> Spec:
    return bare(_curves("true", attacks, single=True).properties(width=420, height=280))


@cache
def _panels(attacks: Sequence[str], models: Sequence[str]) -> Spec:
    whole = (panel(_curves(f"datum.attack == '{name}'", models), name, 250, 250) for name in attacks)
    return bare(alt.hconcat(*whole, spacing=26))


def _curves(which: str, series: Sequence[str], single: bool = False) -> View:
    """Lines with intervals, and the clean accuracy of one model or of each."""
    across = alt.X("x:Q", title="radius, /255", scale=alt.Scale(nice=False, domainMin=0), axis=alt.Axis(tickCount=5))
    base = data().transform_filter(f"datum.part == 'curve' && {which}").encode(x=across)
    ends = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q")
    clean = data().transform_filter("datum.part == 'clean'").mark_rule(strokeDash=DASH).encode(y=alt.Y("v:Q"))
    dashed = clean if single else with_series(clean, series)
    return alt.layer(dashed, banded(base, "v", "top-1, %", series), with_series(ends, series))
