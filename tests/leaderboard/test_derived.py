"""Figures of a board, effective robustness and errors over a reference's, stand beside the column they belong to."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from scipy.special import expit, logit
from scipy.stats import linregress

from benchmark.errors import RequestError
from benchmark.metrics.columns import join
from benchmark.metrics.corruptions import FIFTEEN, corruptions_table
from benchmark.metrics.shift import shift_table
from leaderboard.effective import effective_robustness, trend_of
from leaderboard.tables import check_reference_of, long_table, read_entries, wide_table
from leaderboard.terminal import render
from tests.leaderboard.stores import store_table

BOARD = {"a": (60.0, 30.0), "b": (70.0, 41.0), "c": (80.0, 50.0), "d": (90.0, 80.0)}


def test_it_is_the_residual_of_a_regression_between_logits() -> None:
    clean, shifted = np.array(list(BOARD.values())).T / 100
    line = linregress(logit(clean), logit(shifted))
    expected = 100 * (shifted - expit(line.intercept + line.slope * logit(clean)))
    found = effective_robustness(BOARD)
    assert [found[model] for model in BOARD] == pytest.approx(expected.tolist())
    assert found["d"] > 0 > found["c"]


def test_models_on_one_line_have_none_and_two_models_have_no_line() -> None:
    on_line = {str(c): (c, float(100 * expit(0.3 + 1.1 * logit(c / 100)))) for c in (50.0, 65.0, 80.0)}
    assert list(effective_robustness(on_line).values()) == pytest.approx([0, 0, 0], abs=1e-9)
    trend = trend_of(on_line)
    assert trend is not None and (trend.slope, trend.intercept, trend.models) == (
        pytest.approx(1.1),
        pytest.approx(0.3),
        3,
    )
    assert not effective_robustness({"a": (60, 30), "b": (70, 40)})
    assert not effective_robustness({"a": (60, 30), "b": (60, 40), "c": (60, 50)})
    assert np.isfinite(list(effective_robustness({"a": (0, 0), "b": (100, 40), "c": (60, 100)}).values())).all()


def stored(root: Path, models: dict[str, tuple[float, float]], n: int = 200) -> None:
    for model, accuracies in models.items():
        tables = []
        for domain, accuracy in zip(("clean", "shifted"), accuracies, strict=True):
            accepted = np.zeros((n, 2), bool)
            accepted[:, 0] = True
            wrong = (np.arange(n) >= round(accuracy / 100 * n)).astype(np.int64)
            tables.append(shift_table(domain, pa.array([f"{k:03d}" for k in range(n)]), accepted, wrong))
        store_table(root, model, join(tables), "shift")


def test_tables_have_it_beside_the_shifted_accuracy(tmp_path: Path) -> None:
    stored(tmp_path, BOARD)
    entries = read_entries([tmp_path])
    expected = effective_robustness(BOARD)
    wide = wide_table(entries).set_index("model")
    assert list(wide.columns) == ["pets/nmc/top1", "pets/nmc/effective_robustness"]
    assert wide["pets/nmc/effective_robustness"].to_dict() == pytest.approx(expected)
    frame = long_table(entries)
    rows = frame[frame["metric"] == "effective_robustness"].set_index("model")
    assert rows["value"].to_dict() == pytest.approx(expected) and rows["higher_is_better"].all()
    assert not rows["headline"].any()
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(render(entries))
    text = console.export_text()
    assert f"{expected['d']:.1f}" in text and "effective robustness" in text


def test_few_models_and_other_tasks_have_none(tmp_path: Path) -> None:
    stored(tmp_path, dict(list(BOARD.items())[:2]))
    entries = read_entries([tmp_path])
    assert list(wide_table(entries).columns) == ["model", "pets/nmc/top1"]
    assert "effective_robustness" not in set(long_table(entries)["metric"])


def corrupted(root: Path, model: str, errors: dict[str, float], n: int = 200) -> None:
    """Stores errors in percent, the same at each severity."""
    found = {name: np.repeat((np.arange(n) < 2 * error)[:, None], 5, axis=1) for name, error in errors.items()}
    ids, clean = pa.array([f"{k:03d}" for k in range(n)]), np.zeros(n, np.int64)
    store_table(root, model, corruptions_table(ids, clean, clean, found, 2), "corruptions", "mean_error")


def test_errors_over_those_of_a_model_of_the_board(tmp_path: Path) -> None:
    base = {name: 20.0 + place for place, name in enumerate(FIFTEEN)}
    mine = {name: 50.0 - place for place, name in enumerate(FIFTEEN)}
    corrupted(tmp_path, "base", base)
    corrupted(tmp_path, "mine", mine)
    entries = read_entries([tmp_path])
    by_hand = 100 * np.mean([mine[name] / base[name] for name in FIFTEEN])
    wide = wide_table(entries, "base").set_index("model")
    assert wide["pets/nmc/mCE@base"].to_dict() == {"base": pytest.approx(100), "mine": pytest.approx(by_hand)}
    frame = long_table(entries, "base")
    row = frame[(frame["metric"] == "mCE@base") & (frame["model"] == "mine")].iloc[0]
    assert row["value"] == pytest.approx(by_hand) and not row["higher_is_better"] and row["origin"] == "of the board"
    assert "mCE@base" not in set(long_table(entries)["metric"])
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(render(entries, "base"))
    assert f"{by_hand:.1f}" in console.export_text()


def test_a_reference_has_errors_to_be_divided_by(tmp_path: Path) -> None:
    corrupted(tmp_path, "base", dict.fromkeys(FIFTEEN, 20.0))
    corrupted(tmp_path, "saint", {**dict.fromkeys(FIFTEEN, 20.0), "fog": 0.0})
    entries = read_entries([tmp_path])
    with pytest.raises(RequestError, match=r"'bass'.*base"):
        check_reference_of(entries, "bass")
    with pytest.raises(RequestError, match="none under fog"):
        wide_table(entries, "saint")
    stored(tmp_path / "other", BOARD)
    with pytest.raises(RequestError, match="run the suite robustness"):
        check_reference_of(read_entries([tmp_path / "other"]), "a")
