"""Other people's results: what is true and comparable gets in, everything else is refused with its reason."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from benchmark.errors import RequestError
from benchmark.results import store as store_module
from benchmark.results.schema import ErrorRecord
from benchmark.results.store import ResultStore, open_store, read_predictions, sha256
from leaderboard.submissions import incoming
from leaderboard.submissions.merge import Merge, Outcome, merge, parse_renames
from leaderboard.submissions.report import as_json, as_markdown
from leaderboard.tables import read_entries, wide_table
from leaderboard.verify import verify_folder
from tests.command import CommandLine
from tests.leaderboard.submissions.sending import IDS, TARGETS, edit, fewshot_table, nmc_table, send


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board with one model on two tasks."""
    send(tmp_path / "board", "ours", nmc_table(0.8))
    send(tmp_path / "board", "ours", fewshot_table())
    return tmp_path / "board"


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    return tmp_path / "sent"


def only(found: Merge) -> Outcome:
    (outcome,) = found.outcomes
    return outcome


def refused(sent: Path, board: Path) -> str:
    """The reason why the one result that was sent is refused; the board stays as it was."""
    before = {path: path.read_bytes() for path in sorted(board.rglob("*.*")) if path.is_file()}
    found = merge([sent], board)
    outcome = only(found)
    assert (outcome.status, found.exit_code) == ("refused", 1), outcome
    after = {path: path.read_bytes() for path in before}
    assert after == before and len(list(board.rglob("*.json"))) == 2
    assert "\n" not in outcome.reason
    return outcome.reason


def reproduced(board: Path) -> int:
    verdicts = list(verify_folder(board))
    assert not [problem for verdict in verdicts for problem in verdict.problems]
    return len(verdicts)


def test_a_merged_folder_is_a_board_like_any(sent: Path, board: Path) -> None:
    send(sent, "theirs", nmc_table(0.7))
    send(sent, "theirs", fewshot_table())
    found = merge([sent], board)
    assert [outcome.status for outcome in found.outcomes] == ["merged", "merged"] and found.exit_code == 0
    assert reproduced(board) == 4
    frame = wide_table(read_entries([board])).set_index("model")
    assert frame.loc["theirs", "pets/nmc/top1"] == pytest.approx(70.0)
    assert frame.loc["ours", "pets/nmc/top1"] == pytest.approx(80.0)
    again = merge([sent], board)
    assert {outcome.status for outcome in again.outcomes} == {"already there"} and again.exit_code == 0


def test_a_board_that_is_not_there_is_made(sent: Path, tmp_path: Path) -> None:
    send(sent, "theirs", nmc_table(0.7))
    assert only(merge([sent], tmp_path / "new")).status == "merged"
    assert reproduced(tmp_path / "new") == 1


def test_a_dry_run_judges_all_and_writes_nothing(sent: Path, tmp_path: Path) -> None:
    send(sent, "theirs", nmc_table(0.7))
    send(tmp_path / "other", "theirs", nmc_table(0.6), model_weights_hash="other")
    found = merge([sent, tmp_path / "other"], tmp_path / "new", dry_run=True)
    assert [outcome.status for outcome in found.outcomes] == ["merged", "refused"]
    assert not (tmp_path / "new").exists()
    assert [o.status for o in merge([sent, tmp_path / "other"], tmp_path / "new").outcomes] == ["merged", "refused"]


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda raw: raw["metrics"][0].update(value=99.0), r"figures that the predictions give; found top1 value: stored"),
    (lambda raw: raw["metrics"][0].update(ci_high=99.0), "top1 ci_high"),
    (lambda raw: raw["metrics"][0].update(n=10_000), "top1 n"),
    (lambda raw: raw["metrics"].append({**raw["metrics"][0], "name": "top1@best"}), "not among the recomputed"),
    (lambda raw: raw.update(predictions_sha256="0" * 64), "the predictions were changed"),
    (lambda raw: raw.update(predictions="../../../etc/passwd"), "leads out of it"),
    (lambda raw: raw.update(predictions="/etc/passwd"), "leads out of it"),
    (lambda raw: raw.update(predictions="results"), "regular file"),
    (lambda raw: raw.update(predictions="a\0b"), "file of the folder"),
    (lambda raw: raw.update(predictions="x" * 5000), "file of the folder"),
    (lambda raw: raw.update(schema_version=2), "schema version 2; this version reads 1; upgrade"),
    (lambda raw: raw.pop("schema_version"), "no schema_version"),
    (lambda raw: raw.update(task="nmd"), "did you mean nmc"),
    (lambda raw: raw.update(task_version=7), "task version 1; found 7"),
    (lambda raw: raw.update(headline="top5"), "headline top5 is not among"),
    (lambda raw: raw["protocol"].update(name="nmc/cosin"), "did you mean nmc/cosine"),
    (lambda raw: raw["protocol"].update(version=2), "protocol version 1; found 2"),
    (lambda raw: raw["protocol"].update(paper=True), "select on the reported split"),
    (lambda raw: raw["protocol"].update(settings={"crop_pct": 1.0}), r"nmc/cosine\+crop_pct=1.0; found nmc/cosine;"),
    (lambda raw: raw["protocol"].update(settings={"secret": 1}), "secret"),
    (lambda raw: raw["scorer"].update(version=9), "version 9"),
    (lambda raw: raw["scorer"].update(name="episodes"), "scorer classification; found episodes"),
    (lambda raw: raw["data"].update(fingerprint="f2"), "data fingerprint f1 of pets, as on the board; .*f2"),
    (lambda raw: raw["data"].update(reported_split="val"), "split test, as on the board; found split val"),
    (lambda raw: raw["data"].update(n_reported=500), "500 images"),
    (lambda raw: raw["data"].update(classes=4), "4 classes"),
    (lambda raw: raw["data"].update(skipped={"test": ["a"]}), "images left out"),
    (lambda raw: raw["selection"].update(how="reported-split"), "selection none, as on the board"),
    (lambda raw: raw["model"].update(name="ours"), "weights weights-of-o under the name ours.*--rename 'ours=NEW'"),
    (lambda raw: raw["model"].update(name="a\x1b[31m\nb"), "printable"),
    (lambda raw: raw["model"].update(name="a\u202egnp.exe"), "printable"),
    (lambda raw: raw["model"].update(name="x" * 300), "1 to 200"),
    (lambda raw: raw["model"].update(name=" "), "printable"),
    (lambda raw: raw["model"].update(link="javascript:alert(1)"), "https://"),
    (lambda raw: raw["provenance"].update(finished="yesterday"), "ISO 8601"),
    (lambda raw: raw["provenance"].update(finished="2026-01-01T00:00:00"), "zone"),
    (lambda raw: raw["provenance"].update(finished="2099-01-01T00:00:00+00:00"), "in the past"),
    (lambda raw: raw.update(unknown=1), "unknown"),
    (lambda raw: raw["metrics"][0].update(value=float("nan")), "NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[message[:40] for _, message in CHANGES])
def test_a_result_edited_by_hand_is_refused(
    sent: Path, board: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(send(sent, "theirs", nmc_table(0.7)), change)
    assert re.search(message, refused(sent, board))


def test_predictions_changed_with_their_figures_are_refused(sent: Path, board: Path) -> None:
    """A forgery that agrees with itself, found by the labels of the board."""
    easier = TARGETS.copy()
    easier[-60:] = (TARGETS[-60:] + 1) % 3  # what the model predicts there is now called right
    send(sent, "theirs", nmc_table(1.0, easier))
    assert "as on the board" in (reason := refused(sent, board)) and "so for 60 images" in reason


def test_images_left_out_or_added_are_refused(sent: Path, board: Path, tmp_path: Path) -> None:
    send(sent, "theirs", nmc_table(0.9, TARGETS[:150], IDS[:150]), data_n_reported=150)
    assert "none of '0150.jpg'" in refused(sent, board)
    send(tmp_path / "more", "theirs", nmc_table(0.9, np.append(TARGETS, 0), pa.array([*IDS.to_pylist(), "new.jpg"])),
         data_n_reported=201)  # fmt: skip
    assert "'new.jpg' beside them" in refused(tmp_path / "more", board)


def test_episodes_on_other_labels_are_refused(sent: Path, board: Path) -> None:
    send(sent, "theirs", fewshot_table((TARGETS + 1) % 3))
    assert "as on the board" in refused(sent, board)


def test_one_image_with_two_classes_is_refused(sent: Path, tmp_path: Path) -> None:
    table = fewshot_table()
    target = table["target"].to_numpy().copy()
    rows = np.flatnonzero(table["sample"].to_numpy() == "0007.jpg")
    assert len(rows) > 1
    target[rows[0]] = (target[rows[0]] + 1) % 3
    changed = table.set_column(table.column_names.index("target"), "target", pa.array(target))
    send(sent, "theirs", changed)
    assert "one class per image; found '0007.jpg'" in only(merge([sent], tmp_path / "new")).reason


def test_a_failed_cell_is_not_merged(sent: Path, board: Path) -> None:
    error = ErrorRecord(kind="E", message="out of memory", traceback="")
    send(sent, "theirs", nmc_table(0.7), status="failed", metrics=(), error=error)
    assert "out of memory" in refused(sent, board)


def test_another_preprocessing_under_one_name_is_refused(sent: Path, board: Path) -> None:
    path = send(sent, "ours", nmc_table(0.7), seed=1)
    edit(path, lambda raw: raw["model"]["preprocessing"].update(size=[448, 448]))
    assert "size=[224, 224]" in (reason := refused(sent, board)) and "size=[448, 448]" in reason


def test_one_name_for_two_weights_can_be_told_apart(sent: Path, board: Path) -> None:
    send(sent, "ours", nmc_table(0.7), model_weights_hash="others")
    assert "--rename" in refused(sent, board)
    assert only(merge([sent], board, rename=parse_renames(["ours=theirs"]))).status == "merged"
    assert {result.model.name for _, result in open_store(board).results()} == {"ours", "theirs"}
    assert reproduced(board) == 3
    with pytest.raises(RequestError, match="did you mean ours"):
        merge([sent], board, rename={"our": "x"})
    with pytest.raises(RequestError, match="OLD=NEW"):
        parse_renames(["ours"])


def test_equal_predictions_leave_the_board_as_it_is(sent: Path, board: Path) -> None:
    path = send(sent, "ours", nmc_table(0.8), provenance_hardware="another machine")
    store = ResultStore(sent)
    result = next(result for _, result in store.results())
    table = read_predictions(sent, result)
    pq.write_table(table, sent / str(result.predictions), compression="gzip")  # other bytes, the same predictions
    edit(path, lambda raw: raw.update(predictions_sha256=sha256(sent / str(result.predictions))))
    assert only(merge([sent], board, replace="newer")).status == "already there"
    assert {result.provenance.hardware for _, result in open_store(board).results()} == {"cpu"}


def test_other_predictions_of_a_cell_need_a_rule(sent: Path, board: Path, tmp_path: Path) -> None:
    send(sent, "ours", nmc_table(0.9), provenance_finished="2026-02-01T00:00:00+00:00")
    reason = refused(sent, board)
    assert "2026-02-01" in reason and "--replace newer" in reason
    outcome = only(merge([sent], board, replace="newer"))
    assert outcome.status == "replaced" and "2026-01-01" in outcome.reason
    assert reproduced(board) == 2
    assert wide_table(read_entries([board])).loc[0, "pets/nmc/top1"] == pytest.approx(90.0)
    send(tmp_path / "older", "ours", nmc_table(0.5), provenance_finished="2026-01-15T00:00:00+00:00")
    found = merge([tmp_path / "older"], board, replace="newer")
    assert (only(found).status, found.exit_code) == ("kept", 0)
    assert len(list(board.glob("predictions/**/*.parquet"))) == 2


@pytest.mark.parametrize("what", ["result", "predictions", "folder"])
def test_links_out_of_the_folder_are_not_followed(sent: Path, board: Path, tmp_path: Path, what: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    path = send(sent, "theirs", nmc_table(0.7))
    if what == "predictions":
        path = next(sent.glob("predictions/**/*.parquet"))
    moved = path.parent if what == "folder" else path
    moved.rename(elsewhere)
    moved.symlink_to(elsewhere)
    assert "leads out of it" in refused(sent, board)


def test_a_pipe_is_not_waited_for(sent: Path, board: Path) -> None:
    path = send(sent, "theirs", nmc_table(0.7))
    path.unlink()
    os.mkfifo(path)
    assert "regular file" in refused(sent, board)


def test_sizes_are_looked_at_before_anything_is_unpacked(
    sent: Path, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(sent, "theirs", nmc_table(0.7))
    for limit, message in (("MAX_RESULT_BYTES", "at most"), ("MAX_PREDICTIONS_BYTES", "at most"),
                           ("MAX_ROWS", "200 rows"), ("MAX_COLUMNS", "columns")):  # fmt: skip
        with monkeypatch.context() as changed:
            changed.setattr(incoming, limit, 5)
            changed.setattr(incoming, "read_predictions", pytest.fail)
            assert message in refused(sent, board)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\0" * 1000, b"PAR1" + b"\xff" * 200 + b"PAR1"])
def test_predictions_that_are_no_table_are_refused(sent: Path, board: Path, content: bytes) -> None:
    send(sent, "theirs", nmc_table(0.7))
    next(sent.glob("predictions/**/*.parquet")).write_bytes(content)
    assert "readable predictions" in refused(sent, board)


@pytest.mark.parametrize("name", ["variant", "draw", "sample", "target", "prediction", "top5", "log_prob"])
def test_a_table_without_a_column_or_of_another_type_is_refused(sent: Path, board: Path, name: str) -> None:
    path = send(sent, "theirs", nmc_table(0.7))
    stored = next(sent.glob("predictions/**/*.parquet"))
    table = pq.read_table(stored)
    place = table.column_names.index(name)
    wrong = pa.array([b"\xff\xfe"] * table.num_rows, pa.binary())
    for changed in (table.remove_column(place), table.set_column(place, name, wrong)):
        pq.write_table(changed, stored)
        edit(path, lambda raw: raw.update(predictions_sha256=sha256(stored)))
        refused(sent, board)


def test_names_are_text_wherever_they_are_shown(sent: Path, board: Path, cli: CommandLine, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    path = send(sent, name, nmc_table(0.7))
    found = merge([sent], board)
    assert only(found).status == "merged"
    text = as_markdown(found)
    assert "<script>" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert name in {result.model.name for _, result in open_store(board).results()}
    assert all(".." not in part.name and "<" not in part.name for part in board.rglob("*"))
    assert name in cli("table", board, "--format", "csv").out
    edit(path, lambda raw: raw["model"].update(name="a\x1b[2J" + name))
    said = cli("merge", sent, "--into", tmp_path / "new").out
    assert "\x1b[2J" not in said and r"\x1b[2J" in said


def test_reports_list_everything(sent: Path, board: Path, tmp_path: Path, cli: CommandLine) -> None:
    edit(send(sent, "bad", nmc_table(0.7)), lambda raw: raw["metrics"][0].update(value=99.0))
    send(sent, "good", nmc_table(0.7))
    asked = ("merge", sent, "--into", board, "--report", tmp_path / "r.md", tmp_path / "r.json")
    found = cli(*asked)
    assert found.code == 1 and "1 refused" in found.out and "1 merged" in found.out and "stored 99.0" in found.out
    whole = json.loads((tmp_path / "r.json").read_text())
    assert {(r["cell"].split(" ")[0], r["status"]) for r in whole["results"]} == {
        ("bad", "refused"),
        ("good", "merged"),
    }
    lines = (tmp_path / "r.md").read_text().splitlines()
    assert lines[4].startswith("| refused | bad") and lines[5].startswith("| merged | good")
    assert json.loads(as_json(merge([sent], board)))["exit_code"] == 1
    assert cli("merge", sent, "--into", board, "--report", tmp_path / "r.pdf").code == 2


def test_what_makes_no_sense_is_one_line_and_exit_2(sent: Path, board: Path, cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in ([], [tmp_path / "empty"], [tmp_path / "absent"], [board]):
        found = cli("merge", *arguments, "--into", board)
        assert found.code == 2 and found.err.count("\n") == 1, found
    send(sent, "theirs", nmc_table(0.7))
    (board / "results" / ".locks").mkdir(exist_ok=True)
    with FileLock(board / "results" / ".locks" / "merge.lock"):
        found = cli("merge", sent, "--into", board)
    assert found.code == 2 and "one merge into a board at a time" in found.err
    next(board.glob("results/ours/nmc/*.json")).write_text("{")
    assert cli("merge", sent, "--into", board).code == 2


class Killed(BaseException):
    """Not an `Exception`: nothing may catch it."""


def test_a_kill_at_any_instant_leaves_a_valid_board_and_the_same_command_goes_on(
    sent: Path, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops before and after every write and every removal in turn, a replaced cell among them."""
    send(sent, "new", nmc_table(0.7))
    send(sent, "ours", nmc_table(0.9), provenance_finished="2026-02-01T00:00:00+00:00")
    send(sent, "ours", fewshot_table(episodes=25), provenance_finished="2026-02-01T00:00:00+00:00")
    steps, limit = 0, 0

    def stopping(action: Callable[..., object]) -> Callable[..., None]:
        def step(*arguments: object, **options: object) -> None:
            nonlocal steps
            for happen in (lambda: None, lambda: action(*arguments, **options)):
                happen()
                steps += 1
                if steps == limit:
                    raise Killed

        return step

    kills, instants = 0, set()
    for limit in range(1, 100):
        again = board.with_name(f"board{limit}")
        shutil.copytree(board, again)
        steps = 0
        with monkeypatch.context() as changed:
            for name in ("write_atomically", "write_bytes"):
                changed.setattr(store_module, name, stopping(getattr(store_module, name)))
            changed.setattr(Path, "unlink", stopping(Path.unlink))
            try:
                merge([sent], again, replace="newer")
            except Killed:
                kills += 1
        instants.add(reproduced(again))
        found = merge([sent], again, replace="newer")
        assert found.exit_code == 0 and reproduced(again) == 3
        frame = wide_table(read_entries([again])).set_index("model")
        assert frame.loc["ours", "pets/nmc/top1"] == pytest.approx(90.0)
        if steps < limit:
            break
    assert kills >= 15 and instants == {2, 3} and kills == steps
