"""Published figures are shown beside measured ones, and a program never takes one for the other."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from leaderboard.published import frames, match, terminal
from leaderboard.published.rows import published_rows
from leaderboard.tables import LONG_COLUMNS, Entry, long_table
from tests.command import CommandLine
from tests.leaderboard.published.examples import entry, result, store

RENAMED = {"model": {"name": "other", "weights_hash": "w2"}}


@pytest.fixture
def entries() -> list[Entry]:
    """A run that agrees, and one of other weights that contradicts (76.1 is published)."""
    return [entry(74.42), entry(70.0, weights="dino_vitb16", **RENAMED)]


def text(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(renderable)
    return console.export_text()


def test_without_the_option_only_a_column_of_origin_is_new(entries: list[Entry]) -> None:
    frame = long_table(entries)
    assert list(frame.columns) == list(LONG_COLUMNS) and LONG_COLUMNS[-1] == "origin"
    assert frame.origin.tolist() == ["measured", "measured"]
    assert frame.status.tolist() == ["done", "done"]
    assert frame.weights.tolist() == ["dino_vits16", "dino_vitb16"]


def test_the_long_form_gains_rows_that_no_filter_for_done_takes(entries: list[Entry]) -> None:
    frame = frames.long_table_published(entries)
    assert list(frame.columns) == [*LONG_COLUMNS, *frames.PUBLISHED_COLUMNS]
    measured, published = frame[frame.status == "done"], frame[frame.origin == "published"]
    assert measured.value.tolist() == long_table(entries).value.tolist()
    assert published.status.tolist() == ["published", "published"]
    assert published.value.tolist() == [74.5, 76.1]
    assert published.difference.tolist() == pytest.approx([-0.08, -6.1])
    assert published.contradicted.tolist() == [False, True]
    assert published.source.tolist() == ["facebookresearch/dino README.md"] * 2
    assert (published.model.tolist(), published.metric.tolist()) == (["m", "other"], ["top1@k20"] * 2)
    assert published.seed.isna().all() and published.ci_low.isna().all() and published.n.isna().all()
    assert measured.difference.isna().all() and measured.source.isna().all()


def test_seeds_and_counts_stay_whole_numbers_in_every_format(entries: list[Entry]) -> None:
    lines = frames.encode_published(entries, "csv", wide=False).decode().splitlines()
    header, first = lines[0].split(","), lines[1].split(",")
    plain = long_table(entries).to_csv(index=False).splitlines()[1]
    assert lines[1].startswith(plain), "measured rows are what they are without the option"
    assert first[header.index("seed")] == "0" and first[header.index("n")] == "50000"
    rows = json.loads(frames.encode_published(entries, "json", wide=False))
    assert rows[0]["seed"] == 0 and rows[2]["seed"] is None and rows[2]["contradicted"] is False
    parquet = pd.read_parquet(io.BytesIO(frames.encode_published(entries, "parquet", wide=False)))
    assert parquet.value.tolist() == [74.42, 70.0, 74.5, 76.1]
    shown = frames.encode_published(entries, "md", wide=False).decode()
    assert "<NA>" not in shown and "nan" not in shown


def test_wide_tables_for_papers_have_published_figures_in_parentheses(entries: list[Entry]) -> None:
    shown = frames.encode_published(entries, "md", wide=True).decode()
    assert "74.42 (74.5)" in shown and "70.00 (76.1!)" in shown
    assert "In parentheses: published figures" in shown
    latex = frames.encode_published(entries, "latex", wide=True).decode()
    assert "74.42 (74.5)" in latex and latex.rstrip().endswith("in its source.")


def test_wide_tables_for_programs_keep_numbers_apart(entries: list[Entry]) -> None:
    frame = pd.read_csv(io.BytesIO(frames.encode_published(entries, "csv", wide=True))).set_index("model")
    assert list(frame.columns) == ["imagenet-1k/knn/top1@k20", "imagenet-1k/knn/top1@k20 published"]
    assert frame.loc["m"].tolist() == [74.42, "74.5"]
    assert frame.loc["other"].tolist() == [70.0, "76.1!"]


def test_a_wide_column_has_the_published_figures_of_its_headline_only() -> None:
    """64.2 is published at k = 20, the headline; 63.9, 62.9 and 61.9 at other k."""
    base = entry(64.2, weights="mmselfsup_byol_resnet50_8xb32-accum16-coslr-200e").result
    others = tuple(base.metrics[0].model_copy(update={"name": f"top1@k{k}"}) for k in (10, 100, 200))
    several = Entry(Path("runs"), base.model_copy(update={"metrics": (*base.metrics, *others)}))
    assert len(match.beside([several])) == 4
    frame = frames.wide_table_published([several])
    assert frame["imagenet-1k/knn/top1@k20 published"].tolist() == ["64.2"]


def test_what_a_figure_is_worth_is_marked(entries: list[Entry]) -> None:
    (one,) = match.beside(entries[:1])
    suspect = replace(one, row=replace(one.row, flag="SUSPECT: x"), contradicted=None)
    about = replace(one, row=replace(one.row, flag='README says "close to"'), contradicted=None)
    assert frames.marked(one) == "74.5"
    assert frames.marked(replace(one, contradicted=True)) == "74.5!"
    assert frames.marked(suspect) == "74.5?"
    assert frames.marked(about) == "ca. 74.5"


def test_the_terminal_lists_both_the_difference_and_what_is_contradicted(entries: list[Entry]) -> None:
    shown = text(terminal.render(entries))
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["m"])
    assert all(part in row for part in ("imagenet-1k/knn/top1@k20", "74.42 ±0.38", "74.5", "-0.08", "✓ agrees"))
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["other"])
    assert "✗ contradicted" in row and "-6.10" in row and "facebookresearch/dino README.md" in row
    assert "contradicted other" in shown and "more than the 0.35" in shown
    assert "published: 2 figures beside measured ones: 1 agrees, 1 contradicted" in shown


def test_contradiction_is_styled() -> None:
    stream = io.StringIO()
    Console(file=stream, width=200, force_terminal=True, color_system="standard").print(terminal.render([entry(70.0)]))
    assert "\x1b[1;31m✗ contradicted" in stream.getvalue()


def test_the_terminal_says_what_keeps_a_figure_apart() -> None:
    shown = text(terminal.render([entry(data={"name": "imagenet"})]))
    assert "not the same m" in shown and "dataset: imagenet, published imagenet-1k" in shown
    assert "no figure of the same weights under the same protocol" in shown
    shown = text(terminal.render([entry(weights="dino_vit16s")]))
    assert "did you mean" in shown and "dino_vits16" in shown
    shown = text(terminal.render([entry()]))
    count = sum(row.weights == "dino_vits16" for row in published_rows()) - 1
    assert f"m: {count} more published figures:" in shown and "saliency is no task of ours (9)" in shown


def test_a_suspect_figure_is_listed_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in published_rows() if row.weights == "dino_vits16" and row.task == "imagenet-1k/knn-dino")
    suspect = replace(row, value=Decimal("12.0"), flag="SUSPECT: printed twice")
    monkeypatch.setattr(match, "published_rows", lambda: (suspect,))
    shown = text(terminal.render([entry()]))
    assert "? suspect" in shown and "printed twice" in shown and "contradicted" not in shown
    frame = frames.long_table_published([entry()])
    assert pd.isna(frame.contradicted[1]) and pd.isna(frame.difference[1]) and frame.flag[1] == "SUSPECT: printed twice"


def test_the_command_line_shows_them(tmp_path: Path, cli: CommandLine) -> None:
    folder = store(tmp_path / "runs", result(70.0))
    assert "published:" not in cli("table", folder).out
    shown = cli("table", folder, "--published")
    assert shown.code == 0 and "✗ contradicted" in shown.out and "1 contradicted" in shown.out
    plain = pd.read_csv(io.StringIO(cli("table", folder, "--format", "csv").out))
    both = pd.read_csv(io.StringIO(cli("table", folder, "--format", "csv", "--published").out))
    assert plain.origin.tolist() == ["measured"] and both.origin.tolist() == ["measured", "published"]
    assert cli("table", folder, "--published", "--wide", "--format", "md").out.count("70.00 (74.5!)") == 1
