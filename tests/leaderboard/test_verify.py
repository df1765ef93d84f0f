"""`verify` recomputes every figure, and finds what was tampered with."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from leaderboard.verify import verify_folder
from tests.leaderboard.stores import store_result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store_result(tmp_path, "a", 0.7)
    store_result(tmp_path, "b", 0.6)
    return tmp_path


def problems(folder: Path) -> list[str]:
    return [problem for verdict in verify_folder(folder) for problem in verdict.problems]


def test_untouched_results_are_reproduced(folder: Path) -> None:
    verdicts = list(verify_folder(folder))
    assert len(verdicts) == 2 and all(verdict.metrics >= 2 for verdict in verdicts)
    assert problems(folder) == []


@pytest.mark.parametrize("field", ["value", "ci_low", "ci_high", "n", "higher_is_better"])
def test_a_changed_number_is_found(folder: Path, field: str) -> None:
    path = next(folder.glob("results/a/**/*.json"))
    raw = json.loads(path.read_text())
    before = raw["metrics"][0][field]
    raw["metrics"][0][field] = (not before) if isinstance(before, bool) else before + 1
    path.write_text(json.dumps(raw))
    (problem,) = problems(folder)
    assert field in problem and raw["metrics"][0]["name"] in problem


def test_an_added_or_removed_metric_is_found(folder: Path) -> None:
    path = next(folder.glob("results/a/**/*.json"))
    raw = json.loads(path.read_text())
    raw["metrics"][1]["name"] = "top1@best"
    path.write_text(json.dumps(raw))
    assert len(problems(folder)) == 2


def test_changed_predictions_are_found_even_when_the_figure_is_changed_with_them(folder: Path) -> None:
    path = next(folder.glob("predictions/a/**/*.parquet"))
    table = pq.read_table(path)
    index = table.column_names.index("sample")
    renamed = pc.binary_join_element_wise(table.column("sample").cast(pa.string()), "", "x")
    pq.write_table(table.set_column(index, "sample", renamed), path)
    assert any("predictions were changed" in problem for problem in problems(folder))


def test_missing_and_truncated_predictions_are_found(folder: Path) -> None:
    first, second = sorted(folder.glob("predictions/*/**/*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    assert len(problems(folder)) == 2


def test_a_result_that_is_no_result_is_found(folder: Path) -> None:
    next(folder.glob("results/a/**/*.json")).write_text("{}")
    assert len(problems(folder)) == 1
