"""Every kind of damage to the published figures is named with its line; what they say is read as printed."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest

from benchmark.errors import ResultError
from leaderboard.published.rows import COLUMNS, SHIPPED, published_rows, read_rows
from tests.leaderboard.published.examples import line, table


def test_the_shipped_file_is_whole() -> None:
    with SHIPPED.open(encoding="utf-8", newline="") as stream:
        raw = list(csv.DictReader(stream))
    rows = published_rows()
    assert len(rows) == len(raw) == 2277
    assert [str(row.value) for row in rows] == [cells["value"] for cells in raw]
    assert sum(row.weights is not None for row in rows) == 2117
    assert sum(row.suspect for row in rows) == 3
    assert {row.flag for row in rows if row.approximate} == {
        'README says "close to"',
        'source states "~" (approximate)',
    }


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"value": "104.5"}, r"top1 in percent, 0 to 100; found mine.csv:2: 104.5"),
        ({"value": "-1"}, "plain decimal"),
        ({"value": "nan"}, "plain decimal"),
        ({"value": "7.45e1"}, "plain decimal"),
        ({"value": ""}, "plain decimal"),
        ({"metric": "top-1"}, "known metric.*mine.csv:2.*top1"),
        ({"confidence": "cell-check"}, "known confidence.*mine.csv:2.*cell-checked"),
        ({"epochs": "12.5"}, "whole number of epochs"),
        ({"epochs": "-5"}, "whole number of epochs"),
        ({"task": "imagenet-1k"}, "dataset/protocol"),
        ({"task": "imagenet-1k/knn dino"}, "dataset/protocol"),
        ({"source": ""}, "a source.*mine.csv:2"),
        ({"method": ""}, "a method"),
        ({"weights": " dino_vits16"}, "weights without blanks"),
        ({"arch": "vit\x07"}, "control characters"),
        ({"flag": "a,b"}, "11 cells; found mine.csv:2: 12"),
    ],
)
def test_a_damaged_cell_is_named_in_one_line(tmp_path: Path, cells: dict[str, str], message: str) -> None:
    with pytest.raises(ResultError, match=message) as caught:
        read_rows(table(tmp_path, line(**cells)))
    assert "\n" not in str(caught.value)


def test_the_line_is_the_damaged_ones(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"mine\.csv:4: '7x'"):
        read_rows(table(tmp_path, line(weights="a"), line(weights="b"), line(weights="c", value="7x")))


def test_one_key_twice_is_refused_where_weights_are_known(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"mine\.csv:3: dino_vits16, imagenet-1k/knn-dino, top1.*line 2"):
        read_rows(table(tmp_path, line(), line(value="74.6")))
    assert len(read_rows(table(tmp_path, line(weights=""), line(weights="", value="33.3")))) == 2
    assert len(read_rows(table(tmp_path, line(), line(source="another README.md")))) == 2


@pytest.mark.parametrize(
    "text",
    ["", "method,arch\nDINO,vit\n", ",".join(reversed(COLUMNS)) + "\n", ",".join(COLUMNS) + ",more\n"],
)
def test_other_columns_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ResultError, match="the columns method, arch"):
        read_rows(path)


def test_what_is_no_text_or_no_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ResultError, match="readable CSV"):
        read_rows(path)
    path.write_text(",".join(COLUMNS) + '\n"a"b,c\n')
    with pytest.raises(ResultError, match="readable CSV"):
        read_rows(path)
    with pytest.raises(ResultError, match="readable CSV"):
        read_rows(tmp_path / "absent.csv")


def test_metres_and_relative_errors_may_pass_a_hundred(tmp_path: Path) -> None:
    path = table(tmp_path, line(metric="mCE", value="101.3"), line(metric="rmse", value="0.298"))
    mce, rmse = read_rows(path)
    assert (mce.value, rmse.value) == (Decimal("101.3"), Decimal("0.298"))
    assert not mce.higher_is_better and not rmse.higher_is_better


@pytest.mark.parametrize(("printed", "half"), [("74.5", 0.05), ("74.50", 0.005), ("79", 0.5), ("0.298", 0.0005)])
def test_a_figure_stands_for_what_rounds_to_its_print(tmp_path: Path, printed: str, half: float) -> None:
    (row,) = read_rows(table(tmp_path, line(value=printed)))
    assert row.half_unit == pytest.approx(half, rel=1e-12)
    assert str(row.value) == printed


def test_what_is_not_known_is_none(tmp_path: Path) -> None:
    (row,) = read_rows(table(tmp_path, line(arch="", pretrain_data="", weights="")))
    assert (row.arch, row.pretrain_data, row.epochs, row.weights) == (None, None, None, None)
    assert row.line == 2 and row.dataset == "imagenet-1k"
