"""Results are whole or absent, traceable, and never read as something they are not."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from benchmark.errors import ResultError
from benchmark.files import write_atomically, write_bytes
from benchmark.results.schema import Result
from benchmark.results.store import CellKey, ResultStore, open_store, read_predictions, read_result, safe_name
from tests.results.examples import example_result

KEY = CellKey("m/1", "knn", "pets", "knn/dino", 0)


def test_a_result_survives_the_disk(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    path, digest = store.write_predictions(KEY, pa.table({"a": [1, 2]}))
    result = example_result(predictions=path, predictions_sha256=digest)
    written = store.write(KEY, result)
    assert written.relative_to(tmp_path).as_posix() == f"results/{safe_name('m/1')}/knn/pets--knn-dino--s0.json"
    assert store.read(KEY) == result
    assert read_predictions(tmp_path, result).to_pydict() == {"a": [1, 2]}


def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert ResultStore(tmp_path / "none").read(KEY) is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "names", [("a/b", "a-b"), ("../x", ".x"), ("x" * 300, "x" * 299 + "y"), ("a b", "a_b"), ("é", "e")]
)
def test_different_names_never_share_a_file(names: tuple[str, str]) -> None:
    left, right = (safe_name(name) for name in names)
    assert left != right
    assert "/" not in left and not left.startswith(".") and len(left) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [("value", float("nan")), ("ci_low", float("inf")), ("n", 0)],
)
def test_a_figure_that_is_no_number_is_refused(field: str, value: float) -> None:
    raw = example_result().model_dump()
    raw["metrics"] = [{**raw["metrics"][0], field: value}]
    with pytest.raises(ValidationError):
        Result.model_validate(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"headline": "mAP"}, "headline"),
        ({"predictions": None}, "predictions"),
        ({"status": "failed"}, "error"),
        ({"unknown": 1}, "unknown"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
def test_an_inconsistent_result_is_refused_with_its_file(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    raw = {**example_result().model_dump(mode="json"), **change}
    path = tmp_path / "r.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(ResultError, match=message) as caught:
        read_result(path)
    assert str(path) in str(caught.value)


def test_predictions_outside_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="inside the output folder"):
        read_predictions(tmp_path, example_result(predictions="../../etc/passwd"))


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no such folder"):
        open_store(tmp_path / "absent")
    with pytest.raises(ResultError, match="without results"):
        open_store(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_bytes(path, b"old")

    def half(stream: object) -> None:
        stream.write(b"ne")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, half)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def _hold(root: Path, held: multiprocessing.synchronize.Event) -> None:
    with ResultStore(root).claim(KEY) as mine:
        assert mine
        held.set()
        signal.pause()


def test_a_cell_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    with ResultStore(tmp_path).claim(KEY) as mine:
        assert not mine
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with ResultStore(tmp_path).claim(KEY) as mine:
        assert mine


def test_predictions_that_changed_since_they_were_stored_are_not_read(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    path, digest = store.write_predictions(KEY, pa.table({"a": [1, 2]}))
    pq.write_table(pa.table({"a": [1, 3]}), tmp_path / path)
    with pytest.raises(ResultError, match="the predictions were changed"):
        read_predictions(tmp_path, example_result(predictions=path, predictions_sha256=digest))


def test_a_kill_between_new_predictions_and_their_result_leaves_the_old_cell_whole(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    old_path, old_digest = store.write_predictions(KEY, pa.table({"a": [1]}))
    store.write(KEY, example_result(predictions=old_path, predictions_sha256=old_digest))
    for content in (2, 3):  # twice killed before the result was written
        new_path, new_digest = store.write_predictions(KEY, pa.table({"a": [content]}))
        stored = store.read(KEY)
        assert stored is not None and read_predictions(tmp_path, stored).to_pydict() == {"a": [1]}
    store.write(KEY, example_result(predictions=new_path, predictions_sha256=new_digest))
    stored = store.read(KEY)
    assert stored is not None and read_predictions(tmp_path, stored).to_pydict() == {"a": [3]}
    assert [entry.name for entry in tmp_path.glob("predictions/**/*.parquet")] == [Path(new_path).name]


def test_cells_whose_names_begin_alike_keep_their_predictions(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    keys = [CellKey("m", "knn", "pets", "knn/dino", seed) for seed in (1, 11)]
    for key in (*keys, keys[0]):
        path, digest = store.write_predictions(key, pa.table({"a": [key.seed]}))
        store.write(key, example_result(predictions=path, predictions_sha256=digest))
    for key in keys:
        stored = store.read(key)
        assert stored is not None and read_predictions(tmp_path, stored).to_pydict() == {"a": [key.seed]}
