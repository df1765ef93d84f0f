"""Tables show what was stored, keep what may not be ranked apart, and mark a best only where it is one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from benchmark.errors import RequestError, ResultError
from benchmark.results.store import CellKey, ResultStore
from leaderboard.formats import check_format, encode
from leaderboard.pairwise import clear_winner
from leaderboard.reading import reading
from leaderboard.tables import LONG_COLUMNS, Entry, long_table, read_entries, wide_columns, wide_table
from leaderboard.terminal import render
from tests.leaderboard.stores import store_result

CONTRACT = [
    "model",
    "task",
    "protocol",
    "protocol_version",
    "dataset",
    "split",
    "seed",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "higher_is_better",
    "n",
    "selection",
    "status",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for model, accuracy in (("good", 0.9), ("fair", 0.6), ("poor", 0.59)):
        store_result(tmp_path, model, accuracy)
    return tmp_path


def text(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(renderable)
    return console.export_text()


def test_the_long_form_keeps_the_contracts_columns_in_order(folder: Path) -> None:
    frame = long_table(read_entries([folder]))
    assert list(frame.columns[: len(CONTRACT)]) == CONTRACT
    assert list(frame.columns) == list(LONG_COLUMNS)
    row = frame[(frame.model == "good") & (frame.metric == "top1")].iloc[0]
    assert row.value == 90.0 and row.n == 400 and row.status == "done"
    assert row.ci_low < 90 < row.ci_high


def test_csv_json_and_parquet_give_the_same_rows(folder: Path) -> None:
    frame = long_table(read_entries([folder]))
    csv = pd.read_csv(io.BytesIO(encode(frame, "csv")))
    parquet = pd.read_parquet(io.BytesIO(encode(frame, "parquet")))
    rows = json.loads(encode(frame, "json"))
    assert csv.value.tolist() == pytest.approx(frame.value.tolist(), rel=1e-12)
    assert parquet.value.tolist() == frame.value.tolist()
    assert [row["value"] for row in rows] == pytest.approx(frame.value.tolist(), rel=1e-12)


def test_the_wide_form_has_a_row_per_model_and_a_column_per_headline(folder: Path) -> None:
    store_result(folder, "good", 0.8, dataset="dogs")
    frame = wide_table(read_entries([folder])).set_index("model")
    assert sorted(frame.columns) == ["dogs/nmc/top1", "pets/nmc/top1"]
    assert frame.loc["good", "dogs/nmc/top1"] == 80.0
    assert pd.isna(frame.loc["poor", "dogs/nmc/top1"])


def test_what_a_card_says_is_carried_into_the_tables(folder: Path) -> None:
    entries = read_entries([folder])
    said = {"method": "MAE", "pretraining_data": "IN1K", "epochs": 800, "licence": "CC BY-NC 4.0", "link": "there"}
    entries = [
        Entry(e.root, e.result.model_copy(update={"model": e.result.model.model_copy(update=said)}))
        if e.result.model.name == "good" else e
        for e in entries
    ]  # fmt: skip
    frame = long_table(entries)
    row = frame[frame.model == "good"].iloc[0]
    assert {name: row[name] for name in said} == said
    assert frame[frame.model == "fair"].method.isna().all()
    assert "MAE, IN1K, 800 epochs" in text(render(entries))


def test_latex_uses_booktabs_and_escapes(folder: Path) -> None:
    store_result(folder, "under_score", 0.7)
    latex = encode(wide_table(read_entries([folder])), "latex").decode()
    assert "\\toprule" in latex and "\\bottomrule" in latex and "under\\_score" in latex


def test_markdown_shows_two_decimals_and_blanks(folder: Path) -> None:
    store_result(folder, "good", 0.8, dataset="dogs")
    lines = encode(wide_table(read_entries([folder])), "md").decode().splitlines()
    assert any("90.00" in line and "80.00" in line for line in lines)
    assert "nan" not in "".join(lines).lower()


def test_protocols_never_share_a_column(folder: Path) -> None:
    store_result(folder, "good", 0.99, protocol="p/q+k=1")
    labels = [column.label for column in wide_columns(read_entries([folder]))]
    assert sorted(labels) == ["pets/nmc/top1 [p/q+k=1]", "pets/nmc/top1 [p/q]"]


def test_results_on_changed_data_get_their_own_column_that_says_so(folder: Path) -> None:
    stored = store_result(folder, "late", 0.5)
    path = next(folder.glob("results/late/**/*.json"))
    raw = json.loads(path.read_text())
    raw["data"]["fingerprint"] = "changed"
    path.write_text(json.dumps(raw))
    labels = [column.label for column in wide_columns(read_entries([folder]))]
    assert len(labels) == 2 and all("data fingerprint" in label for label in labels)
    assert stored.data.fingerprint != "changed"


def test_a_best_is_marked_only_when_it_beats_every_other(folder: Path) -> None:
    column = wide_columns(read_entries([folder]))[0]
    assert clear_winner(column) == "good"
    assert "★" in text(render(read_entries([folder]))).split("good")[1].splitlines()[0]


def test_a_lead_within_luck_is_not_marked(tmp_path: Path) -> None:
    store_result(tmp_path, "a", 0.600)
    store_result(tmp_path, "b", 0.595)
    assert clear_winner(wide_columns(read_entries([tmp_path]))[0]) is None


def test_a_best_without_its_predictions_is_not_marked(folder: Path) -> None:
    next(folder.glob("predictions/good/**/*.parquet")).unlink()
    assert clear_winner(wide_columns(read_entries([folder]))[0]) is None


def test_seeds_are_averaged_and_their_spread_shown(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.5, 0.6)):
        store_result(tmp_path, "a", accuracy, seed=seed)
        store_result(tmp_path, "b", accuracy - 0.1, seed=seed)
    entries = read_entries([tmp_path])
    assert wide_table(entries).set_index("model").loc["a"].tolist() == [pytest.approx(55.0)]
    assert "seeds 7.1" in text(render(entries))  # the standard deviation of 50 and 60


def test_one_name_for_two_checkpoints_is_told_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    store_result(first, "m", 0.9)
    store_result(second, "m", 0.5)
    path = next(second.glob("results/m/**/*.json"))
    raw = json.loads(path.read_text())
    raw["model"]["weights_hash"] = "other"
    path.write_text(json.dumps(raw))
    assert set(wide_table(read_entries([first, second])).model) == {"m@one", "m@two"}


def test_the_same_folder_twice_counts_once(folder: Path) -> None:
    assert len(read_entries([folder, folder])) == len(read_entries([folder]))


def test_the_reading_names_the_leader_and_the_gaps(folder: Path) -> None:
    line = str(reading(read_entries([folder])))
    assert line.startswith("good leads 1 of 1 columns, 1 of them with a clear winner")
    assert "fair by 30.0" in line and "poor by 31.0" in line


def test_an_unknown_format_comes_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="latex"):
        check_format("latx")


def test_folders_of_one_name_do_not_hide_other_weights(tmp_path: Path) -> None:
    for place, accuracy in (("a/out", 0.5), ("b/out", 0.8)):
        result = store_result(tmp_path / place, "m", accuracy)
        model = result.model.model_copy(update={"weights_hash": f"{place[0]}1234567890"})
        ResultStore(tmp_path / place).write(
            CellKey("m", "nmc", "pets", "p/q", 0), result.model_copy(update={"model": model})
        )
    table = wide_table(read_entries([tmp_path / "a/out", tmp_path / "b/out"]))
    assert dict(zip(table.model, table.iloc[:, 1], strict=True)) == {
        "m@weights a1234567": 50.0,
        "m@weights b1234567": 80.0,
    }


def test_one_cell_with_two_figures_is_refused(tmp_path: Path) -> None:
    store_result(tmp_path / "a", "m", 0.5)
    store_result(tmp_path / "b", "m", 0.8)
    with pytest.raises(ResultError, match="other predictions in"):
        read_entries([tmp_path / "a", tmp_path / "b"])
    store_result(tmp_path / "c", "m", 0.5)
    assert len(read_entries([tmp_path / "a", tmp_path / "c"])) == 1
