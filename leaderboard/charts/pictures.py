"""Charts as PNG files: paper colours that colour-blind people tell apart, a font that comes with the renderer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from benchmark.errors import ResultError
from benchmark.files import write_bytes
from benchmark.results.schema import Result
from benchmark.show.answers import chosen_results
from leaderboard.charts.chart import Chart
from leaderboard.charts.kinds import KINDS, Kind
from leaderboard.charts.study import Study
from leaderboard.tables import Entry, wide_columns

_FONT = "Liberation Sans"  # bundled with vl-convert
_INK, _SOFT, _LINE = "#1b1f24", "#5c6670", "#dde2e7"
_CATEGORY = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours that show on white (Color Universal Design, 2008)."""
_SCALE = 2
_CHARACTER = 5.3  # pixels, of a caption
_VERSION = "_".join(alt.SCHEMA_VERSION.split(".")[:2])  # the Vega-Lite that Altair writes
CONFIG: dict[str, Any] = {
    "background": "white",
    "padding": 14,
    "font": _FONT,
    "axis": {
        "labelColor": _INK,
        "titleColor": _INK,
        "gridColor": _LINE,
        "domainColor": _SOFT,
        "tickColor": _SOFT,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": _INK,
        "titleColor": _INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    },
    "header": {"labelColor": _INK, "labelFontSize": 12, "labelFontWeight": "bold"},
    "title": {
        "color": _INK,
        "fontSize": 15,
        "subtitleColor": _SOFT,
        "subtitleFontSize": 11.5,
        "anchor": "start",
        "offset": 14,
        "subtitlePadding": 6,
    },
    "text": {"color": _INK},
    "rule": {"color": _INK},
    "view": {"stroke": None},
    "range": {"category": list(_CATEGORY)},
    "mark": {"color": _CATEGORY[0]},
}


def pictures(folder: Path, out: Path | None = None, model: str | None = None) -> Iterator[Path]:
    """Draws the robustness results of a folder: a picture for each, and one for each column that several models have.

    Args:
        folder: an output folder of a run.
        out: where the pictures go; None for `pictures` in the output folder.
        model: only this one's results, and no pictures of several.

    Yields:
        The pictures' paths, as they are written.

    Raises:
        ResultError: no such result, or one that cannot be drawn.
    """
    place = out or folder / "pictures"
    chosen = {path: Study(Entry(folder, result)) for path, result in chosen_results(folder, "robustness", model)}
    kinds = {path: _kind(study.result) for path, study in chosen.items()}
    for path, study in chosen.items():
        yield _write(place / f"{path.parent.parent.name}--{path.stem}.png", kinds[path].one(study), [study])
    if model is not None:
        return
    stems = {id(study.result): path.stem for path, study in chosen.items()}
    taken: set[str] = set()
    for column in wide_columns([study.entry for study in chosen.values()]):
        studies = [Study(entries[0]) for entries in column.cells.values()]
        if len(studies) > 1:
            name = stems[id(studies[0].result)]
            taken.add(name := name if name not in taken else f"{name}-{len(taken)}")
            yield _write(place / f"{name}.png", _kind(studies[0].result).several(studies), studies)


def png(chart: Chart, heading: str) -> bytes:
    """A chart as it is printed, under its title, what it is of, and how to read it."""
    lines = [heading, *textwrap.wrap(chart.caption, round(chart.width / _CHARACTER))]
    spec = {**chart.spec, "config": CONFIG, "title": {"text": chart.title, "subtitle": lines}}
    return bytes(vl_convert.vegalite_to_png(spec, vl_version=_VERSION, scale=_SCALE, allowed_base_urls=[]))


def heading(studies: list[Study]) -> str:
    """Model, dataset, protocol and the number of images; of several models their number."""
    first = studies[0].result
    who = studies[0].model if len(studies) == 1 else f"{len(studies)} models"
    seed = f", seed {first.seed}" if first.seed else ""
    where = f"{first.data.name}, split {first.data.reported_split}"
    return f"{who} · {where} · {first.protocol.name}{seed} · n = {studies[0].n:,}"


def _kind(result: Result) -> Kind:
    if result.scorer.name not in KINDS:
        found = f"{result.scorer.name!r} in {result.model.name}, {result.data.name}, {result.protocol.name}"
        todo = "run the cell again with --overwrite always"
        raise ResultError(f"a scorer that can be drawn ({', '.join(KINDS)})", found, todo)
    return KINDS[result.scorer.name]


def _write(path: Path, chart: Chart, studies: list[Study]) -> Path:
    write_bytes(path, png(chart, heading(studies)))
    return path
