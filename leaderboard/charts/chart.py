"""A chart: a Vega-Lite specification made with Altair, its data apart, and what is to be said beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt

Spec = dict[str, Any]
Row = dict[str, Any]
View = Any
"""A chart of Altair's: the types of composed ones are unions that none of its functions takes."""
DATA: Final = "points"
LINES: Final = 12
"""Models with a line of their own: six colours by two marks, and more cannot be told apart."""
MARKS: Final = ("circle",) * 6 + ("square",) * 6
DASH: Final = [5, 3]


@dataclass(frozen=True)
class Chart:
    """A picture for a page or a file.

    Attributes:
        title: what is shown.
        spec: without colours and fonts.
        caption: how to read it.
        fixed: whether it has a size of its own; others are as wide as the page.
        width: about how many pixels it takes, for a caption above it.
    """

    title: str
    spec: Spec
    caption: str
    fixed: bool = True
    width: int = 470


def with_data(spec: Spec, points: Sequence[Row], **changes: Any) -> Spec:
    """A specification with its data in place."""
    return {**spec, **changes, "datasets": {DATA: list(points)}}


def bare(chart: View) -> Spec:
    """The specification alone: no default colours, they are those of the page or picture."""
    spec = dict(chart.configure_view(stroke=None).to_dict())
    spec.pop("config", None)
    return spec


def data() -> View:
    """A chart of the data that is put in later."""
    return alt.Chart(alt.NamedData(DATA))


def banded(base: View, field: str, title: str, series: Sequence[str]) -> View:
    """A line with dots and a 95% band for each series, from 0 to 100 percent upwards.

    Args:
        base: with its x; its data have `series`, the field, `low` and `high`.
        field: the figure.
        title: of the y axis.
        series: its values, in order.
    """
    scale = alt.Scale(domain=[0, 100])
    up = alt.Y(f"{field}:Q", title=title, scale=scale)
    band = base.mark_area(opacity=0.15 if len(series) < 4 else 0.09).encode(
        y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q"
    )
    lines, dots = base.mark_line().encode(y=up), base.mark_point(filled=True, size=50, opacity=1).encode(y=up)
    return alt.layer(*(with_series(each, series) for each in (band, lines)), with_series(dots, series, marks=True))


def with_series(chart: View, series: Sequence[str], marks: bool = False, legend: bool = True) -> View:
    """A colour for each series, and a mark where there are more than six; no legend for one alone.

    Domains are the same and in full, which is what joins both in one legend.
    """
    domain = list(series)
    if len(domain) < 2:
        return chart
    key = alt.Legend(orient="bottom", columns=4, labelLimit=300, symbolOpacity=1) if legend else None
    chart = chart.encode(color=alt.Color("series:N", title=None, scale=alt.Scale(domain=domain), legend=key))
    if not marks:
        return chart
    marked = alt.Scale(domain=domain, range=list(MARKS[: len(domain)]))
    return chart.encode(shape=alt.Shape("series:N", title=None, scale=marked, legend=key))


def panel(chart: View, title: str, width: int, height: int) -> View:
    """One of several charts side by side."""
    heading = alt.Title(title, fontSize=12, fontWeight="bold", anchor="middle", offset=8)
    return chart.properties(title=heading, width=width, height=height)


def rounded(value: float, digits: int = 3) -> float:
    """As many digits as can be seen: pages are to stay small."""
    return round(float(value), digits)


def interval(low: float, high: float) -> str:
    """As tables print it."""
    return f"[{low:.1f}, {high:.1f}]"
