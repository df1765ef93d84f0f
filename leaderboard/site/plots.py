"""The pictures, as Vega-Lite specifications made with Altair; colours follow the page's light or dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import altair as alt
import numpy as np

from leaderboard.charts.chart import DATA, Spec, bare, with_data
from leaderboard.ranking import RankTest, Scores, correlations, pareto, ranks
from leaderboard.site.board import Board, BoardColumn, BoardModel

SHOWN = 24
"""Models in a critical-difference diagram and columns in a correlation map: more cannot be read."""


def front(points: Sequence[tuple[str, str, float, float]], cost: str, gain: str) -> Spec:
    """Gain against cost (log scale) and the line of models that no other one beats in both.

    Args:
        points: (model, architecture, cost, gain).
        cost: axis title; its values are positive, less is better unless it is a rate.
        gain: axis title.
    """
    rate = cost.startswith("images")
    best = pareto([-c if rate else c for _, _, c, _ in points], [g for *_, g in points])
    rows = [
        {"model": model, "architecture": arch, "cost": c, "gain": g, "front": on}
        for (model, arch, c, g), on in zip(points, best, strict=True)
    ]
    return with_data(_front(cost, gain), rows)


@cache
def _front(cost: str, gain: str) -> Spec:
    base = alt.Chart(alt.NamedData(DATA)).encode(
        x=alt.X("cost:Q", scale=alt.Scale(type="log", nice=False, padding=24), title=cost),
        y=alt.Y("gain:Q", scale=alt.Scale(zero=False, padding=16), title=gain),
    )
    on_front = base.transform_filter("datum.front")
    line = on_front.mark_line(interpolate="step-after", strokeDash=[4, 3], opacity=0.6).encode(order="cost:Q")
    dots = base.mark_circle(size=90).encode(
        opacity=alt.condition("datum.front", alt.value(1.0), alt.value(0.45)),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("architecture:N"),
            alt.Tooltip("cost:Q", title=cost, format=",.4~g"),
            alt.Tooltip("gain:Q", title=gain, format=".2f"),
        ],
    )
    names = on_front.mark_text(dy=-11, fontSize=11, limit=160).encode(text="model:N")
    return bare((line + dots + names).properties(width="container", height=340))


def critical_difference(scores: Scores, test: RankTest) -> Spec:
    """Mean ranks on a line; bars join models that Nemenyi's test does not tell apart (Demsar, JMLR 2006)."""
    mean = ranks(scores.values).mean(axis=1)
    order = np.argsort(mean, kind="stable")[:SHOWN]
    shown = [scores.models[index] for index in order]
    place = dict(zip(scores.models, mean.tolist(), strict=True))
    groups = list(dict.fromkeys(frozenset(group) & frozenset(shown) for group in test.groups))
    bars = [group for group in groups if len(group) > 1 and not any(group < other for other in groups)]
    first, top = (len(bars) + 1.5) / 2, (len(shown) + 1) // 2
    low, high = min(place[model] for model in shown), max(place[model] for model in shown)
    reach = max(high - low, 1e-6)
    left, right = low - 0.06 * reach, high + 0.06 * reach
    rows: list[dict[str, Any]] = []
    for index, model in enumerate(shown):
        on_left = index < top
        level = first + (index if on_left else len(shown) - 1 - index)
        end = left if on_left else right
        x = place[model]
        rows.append({"part": "line", "x": x, "x2": x, "y": 0.0, "y2": level})
        rows.append({"part": "line", "x": x, "x2": end, "y": level, "y2": level})
        label = f"{model}  {x:.2f}" if on_left else f"{x:.2f}  {model}"
        rows.append({"part": "left" if on_left else "right", "x": end, "y": level, "text": label})
    for index, group in enumerate(bars):
        ends = sorted(place[model] for model in group)
        y = 0.5 + index / 2
        rows.append({"part": "bar", "x": ends[0], "x2": ends[-1], "y": y, "y2": y})
    distance = test.critical_difference
    rows.append({"part": "scale", "x": low, "x2": min(low + distance, high), "y": -1.2, "y2": -1.2})
    whole = "" if low + distance <= high else ", longer than this axis"
    rows.append({"part": "note", "x": low, "y": -1.75, "text": f"critical difference {distance:.2f}{whole}"})
    depth = first + max(top, len(shown) - top)
    step = max(1, round((high - low) / 8))
    ticks = [float(tick) for tick in np.arange(np.floor(low), np.ceil(high) + step, step)]
    return with_data(_critical_difference(ticks), rows, height=max(160, int(24 * (depth + 2.5))))


def _critical_difference(ticks: list[float]) -> Spec:
    base = alt.Chart(alt.NamedData(DATA))
    axis = alt.Axis(orient="top", title="mean rank (left is better)", grid=False, values=ticks, format="~g")
    x = alt.X("x:Q", scale=alt.Scale(zero=False, padding=170, nice=False), axis=axis)
    y = alt.Y("y:Q", scale=alt.Scale(reverse=True, domainMin=-2.2), axis=None)

    def part(name: str) -> alt.Chart:
        return base.transform_filter(f"datum.part == '{name}'")

    def rule(name: str, width: float) -> alt.Chart:
        return part(name).mark_rule(strokeWidth=width, strokeCap="round").encode(x=x, x2="x2:Q", y=y, y2="y2:Q")

    def text(name: str, align: Literal["left", "right"], shift: int) -> alt.Chart:
        mark = part(name).mark_text(align=align, dx=shift, baseline="middle", limit=300)
        return mark.encode(x=x, y=y, text="text:N")

    whole = (
        rule("line", 1)
        + rule("bar", 5)
        + rule("scale", 2)
        + text("left", "right", -4)
        + text("right", "left", 4)
        + text("note", "left", 0)
    )
    return bare(whole.properties(width="container"))


def agreement(scores: Scores) -> Spec:
    """Kendall's tau between the orders of models in every two columns."""
    tau = correlations(scores)[:SHOWN, :SHOWN]
    labels = scores.columns[:SHOWN]
    rows = [
        {"row": labels[i], "column": labels[j], "tau": None if np.isnan(tau[i, j]) else round(float(tau[i, j]), 3)}
        for i in range(len(labels))
        for j in range(len(labels))
    ]
    side = max(220, 30 * len(labels))
    return with_data(_agreement(), rows, height=side)


@cache
def _agreement() -> Spec:
    base = alt.Chart(alt.NamedData(DATA)).encode(
        x=alt.X("column:N", sort=None, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=180)),
        y=alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
        tooltip=["row:N", "column:N", alt.Tooltip("tau:Q", title="Kendall's tau")],
    )
    colour = alt.Color("tau:Q", scale=alt.Scale(domain=[-1, 0, 1], scheme="redblue"), title="tau")
    figures = base.mark_text(fontSize=10).encode(
        text=alt.Text("tau:Q", format="+.2f"),
        color=alt.condition("abs(datum.tau) > 0.6", alt.value("white"), alt.value("black")),
    )
    return bare((base.mark_rect().encode(color=colour) + figures).properties(width="container"))


def spread(column: BoardColumn) -> Spec:
    """Every model's figure in one column with its interval, best on top."""
    rows = [
        {"model": model, "value": figure.value, "low": figure.low, "high": figure.high}
        for model, figure in column.figures.items()
    ]
    return with_data(_spread(column.column.metric), rows, height=max(60, 20 * len(rows)))


@cache
def _spread(metric: str) -> Spec:
    base = alt.Chart(alt.NamedData(DATA)).encode(y=alt.Y("model:N", sort=None, title=None))
    bars = base.mark_rule(strokeWidth=2, opacity=0.5).encode(
        x=alt.X("low:Q", scale=alt.Scale(zero=False), title=metric), x2="high:Q"
    )
    tip = [alt.Tooltip(f"{name}:{kind}", format=form) for name, kind, form in _TIPS]
    dots = base.mark_circle(size=70).encode(x="value:Q", tooltip=tip)
    return bare((bars + dots).properties(width="container"))


_TIPS = (("model", "N", ""), ("value", "Q", ".2f"), ("low", "Q", ".2f"), ("high", "Q", ".2f"))


def curve(points: Sequence[dict[str, Any]], x: str, y: str, log: bool = False) -> Spec:
    """A line through points with fields `x` and `y`."""
    return with_data(_curve(x, y, log), points)


@cache
def _curve(x: str, y: str, log: bool) -> Spec:
    chart = (
        alt.Chart(alt.NamedData(DATA))
        .mark_line(point=True)
        .encode(
            x=alt.X("x:Q", title=x, scale=alt.Scale(type="log") if log else alt.Scale(zero=False)),
            y=alt.Y("y:Q", title=y, scale=alt.Scale(zero=False)),
            tooltip=[alt.Tooltip("x:Q", title=x, format=".3~g"), alt.Tooltip("y:Q", title=y, format=".4~g")],
        )
    )
    return bare(chart.properties(width="container", height=220))


@cache
def radar() -> Spec:
    """Closed lines around a centre; the compare page fills in `x`, `y`, `order`, `model` and spokes with labels."""
    scale = alt.Scale(domain=[-150, 150])
    hidden = {"x": alt.X("x:Q", axis=None, scale=scale), "y": alt.Y("y:Q", axis=None, scale=scale)}
    base = alt.Chart(alt.NamedData(DATA))
    rings = (
        base.transform_filter("datum.part == 'ring'")
        .mark_line(opacity=0.25, strokeWidth=1)
        .encode(**hidden, detail="ring:N", order="order:Q", color=alt.value("#888"))
    )
    lines = (
        base.transform_filter("datum.part == 'model'")
        .mark_line(strokeWidth=2, point=True)
        .encode(
            **hidden,
            order="order:Q",
            color=alt.Color("model:N", sort=None, title=None, legend=alt.Legend(orient="bottom", columns=2)),
            tooltip=["model:N", "label:N", alt.Tooltip("value:Q", format=".2f")],
        )
    )
    names = (
        base.transform_filter("datum.part == 'label'")
        .mark_text(fontSize=11, limit=150)
        .encode(**hidden, text="label:N")
    )
    whole = (rings + lines + names).properties(width=440, height=440)
    return with_data(bare(whole), [])


def gains(board: Board, cost: str, where: str | None) -> list[tuple[float | None, BoardModel]]:
    """What each model costs: `params` (M), `macs` (G per image) or `rate` (images/s at `where`)."""
    found: list[tuple[float | None, BoardModel]] = []
    for model in board.models:
        macs, rate = model.record.macs, model.throughput.get(where) if where else None
        value = {"params": model.record.params / 1e6, "macs": None if macs is None else macs / 1e9, "rate": rate}[cost]
        found.append((value or None, model))  # nothing costs nothing: a zero has no place on a log scale
    return found
