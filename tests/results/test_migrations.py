"""Results of another schema version are brought forward by a named step, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import ResultError
from benchmark.results import migrations
from benchmark.results.store import read_result
from tests.results.examples import example_result


def stored(folder: Path, **changes: Any) -> Path:
    raw = {**example_result().model_dump(mode="json"), **changes}
    path = folder / "r.json"
    path.write_text(json.dumps({key: value for key, value in raw.items() if value != "absent"}))
    return path


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (2, r"r\.json: schema version 2; this version reads 1; upgrade transferbench"),
        (0, r"r\.json: schema version 0; this version reads 1; read it with the release that wrote it"),
        ("absent", r"r\.json: no schema_version; every stored result has a whole number there"),
        ("1", r"schema_version '1'"),
        (True, r"schema_version True"),
        (1.0, r"schema_version 1\.0"),
    ],
)
def test_another_version_is_refused_by_name(tmp_path: Path, version: object, message: str) -> None:
    path = stored(tmp_path, schema_version=version)
    with pytest.raises(ResultError, match=message):
        read_result(path)


def test_steps_run_one_after_another_up_to_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "STEPS", {-1: lambda d: {**d, "seed": d["seed"] + 1},
                                              0: lambda d: {**d, "seed": d["seed"] * 10}})  # fmt: skip
    assert read_result(stored(tmp_path, schema_version=-1, seed=3)) == example_result(seed=40)
    assert read_result(stored(tmp_path, schema_version=0, seed=3)) == example_result(seed=30)
    assert read_result(stored(tmp_path, schema_version=1, seed=3)) == example_result(seed=3)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"schema_version": 1', "\xff", "[" * 100_000, "{}"])
def test_what_is_no_result_is_one_line_with_its_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ResultError) as caught:
        read_result(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_nan_anywhere_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, details={"a": float("nan")})
    assert "NaN" in path.read_text()
    with pytest.raises(ResultError, match="NaN"):
        read_result(path)
