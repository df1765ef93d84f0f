"""Two folders through the gate: every verdict, and the reports."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from benchmark.errors import RequestError, ResultError
from benchmark.results.schema import ErrorRecord, SelectionRecord
from benchmark.results.store import CellKey, ResultStore
from leaderboard.gate.compare import Check, run_check
from leaderboard.gate.policy import Policy, TaskPolicy, load_policy
from leaderboard.gate.report import as_json, junit, markdown, render, write_report
from leaderboard.gate.verdict import CellVerdict
from tests.command import CommandLine
from tests.leaderboard.stores import store_result


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A baseline on three datasets; a candidate that is equal, worse, and lacks the third."""
    before, after = tmp_path / "before", tmp_path / "after"
    for dataset, accuracy in (("pets", 0.8), ("cars", 0.8), ("food", 0.8)):
        store_result(before, "m", accuracy, dataset=dataset, n=2000)
    for dataset, accuracy in (("pets", 0.8), ("cars", 0.7)):
        store_result(after, "m", accuracy, dataset=dataset, n=2000)
    return before, after


def checked(folders: tuple[Path, Path], **policy: object) -> Check:
    return run_check(str(folders[0]), str(folders[1]), Policy.model_validate(policy))


def verdicts(found: Check) -> dict[str, str]:
    return {cell.cell: cell.verdict for cell in found.cells}


def test_equal_worse_and_missing(folders: tuple[Path, Path]) -> None:
    found = checked(folders)
    assert verdicts(found) == {"pets/nmc": "equal", "cars/nmc": "regressed", "food/nmc": "missing"}
    assert found.exit_code == 1
    worse = next(cell for cell in found.cells if cell.cell == "cars/nmc")
    assert worse.difference is not None and worse.difference.test == "mcnemar"
    assert (worse.baseline, worse.candidate, worse.difference.delta) == (80.0, 70.0, pytest.approx(-10.0))
    assert worse.difference.ci_low < -10 < worse.difference.ci_high < 0


def test_the_other_way_round_is_an_improvement(folders: tuple[Path, Path]) -> None:
    found = run_check(str(folders[1]), str(folders[0]), Policy())
    assert verdicts(found) == {"pets/nmc": "equal", "cars/nmc": "improved", "food/nmc": "new"}
    assert found.exit_code == 0
    assert next(cell for cell in found.cells if cell.verdict == "new").note == "m has no such result"


def test_a_policy_says_what_a_loss_may_be(folders: tuple[Path, Path]) -> None:
    assert checked(folders, tasks={"nmc": TaskPolicy(action="warn")}).exit_code == 0
    assert checked(folders, tasks={"nmc": TaskPolicy(action="warn")}, required=["food/nmc"]).exit_code == 1
    assert verdicts(checked(folders, margin=15.0))["cars/nmc"] == "equal"
    assert verdicts(checked(folders, tasks={"nmc": TaskPolicy(min_n=5000)}))["cars/nmc"] == "too few samples"
    with pytest.raises(RequestError, match="does not ignore"):
        checked(folders, tasks={"nmc": TaskPolicy(action="ignore")})
    with pytest.raises(RequestError, match="pets/nmc"):
        checked(folders, required=["pet/nmc"])


def test_what_cannot_be_compared_says_which_field_differs(folders: tuple[Path, Path]) -> None:
    after = folders[1]
    changed = store_result(after, "m", 0.8, dataset="food", n=2000)
    data = changed.data.model_copy(update={"fingerprint": "other"})
    key = CellKey("m", "nmc", "food", "p/q", 0)
    ResultStore(after).write(key, changed.model_copy(update={"data": data}))
    cell = next(cell for cell in checked(folders).cells if cell.cell == "food/nmc")
    assert cell.verdict == "not comparable" and "data fingerprint" in cell.note
    broken = changed.model_copy(
        update={"status": "failed", "metrics": (), "predictions": None, "selection": SelectionRecord(how="none"),
                "error": ErrorRecord(kind="E", message="it broke", traceback="")}
    )  # fmt: skip
    ResultStore(after).write(key, broken)
    cell = next(cell for cell in checked(folders).cells if cell.cell == "food/nmc")
    assert cell.verdict == "failed" and "it broke" in cell.note
    assert cell.outcome == "fail"


def test_seeds_are_pooled(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        store_result(tmp_path / "a", "m", 0.80, seed=seed, n=2000)
        store_result(tmp_path / "b", "m", (0.70, 0.72, 0.74)[seed], seed=seed, n=2000)
    cell = checked((tmp_path / "a", tmp_path / "b")).cells[0]
    assert cell.candidate == pytest.approx(72.0) and cell.verdict == "regressed"
    assert cell.difference is not None and cell.difference.test == "bootstrap" and cell.difference.n == 2000
    assert cell.difference.delta == pytest.approx(-8.0)


def test_a_new_cell_that_failed_fails_the_check(folders: tuple[Path, Path]) -> None:
    after = folders[1]
    birds = store_result(after, "m", 0.8, dataset="birds")
    broken = {"status": "failed", "metrics": (), "predictions": None, "selection": SelectionRecord(how="none"),
              "error": ErrorRecord(kind="E", message="it broke", traceback="")}  # fmt: skip
    ResultStore(after).write(CellKey("m", "nmc", "birds", "p/q", 0), birds.model_copy(update=broken))
    assert verdicts(checked(folders, tasks={"nmc": TaskPolicy(margin=15)}))["birds/nmc"] == "failed"


def edited(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / "results" / "m" / "nmc" / "pets--p-q--s0.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def pets(folders: tuple[Path, Path]) -> CellVerdict:
    found = checked(folders)
    assert found.exit_code == 1
    return next(cell for cell in found.cells if cell.cell == "pets/nmc")


def test_predictions_changed_since_they_were_stored_are_not_compared(folders: tuple[Path, Path]) -> None:
    path = folders[1] / "predictions" / "m" / "nmc" / "pets--p-q--s0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index("prediction"), "prediction", table["target"]), path)
    cell = pets(folders)
    assert (cell.verdict, cell.outcome) == ("not comparable", "fail") and "the predictions were changed" in cell.note


@pytest.mark.parametrize("side", [0, 1])
def test_predictions_that_are_gone_or_broken_are_named(folders: tuple[Path, Path], side: int) -> None:
    path = folders[side] / "predictions" / "m" / "nmc" / "pets--p-q--s0.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert str(path) in pets(folders).note
    path.unlink()
    cell = pets(folders)
    assert cell.verdict == "not comparable" and str(path) in cell.note


@pytest.mark.parametrize("side", [0, 1])
def test_a_figure_that_its_predictions_do_not_give_is_not_compared(folders: tuple[Path, Path], side: int) -> None:
    edited(folders[side], lambda raw: raw["metrics"][0].update(value=91.0))
    cell = pets(folders)
    assert cell.verdict == "not comparable" and "run verify" in cell.note
    assert "11.0000, their predictions by +0.0000" in cell.note


def test_nan_and_broken_files_stop_the_check_in_one_line(folders: tuple[Path, Path], cli: CommandLine) -> None:
    before, after = folders
    asked = ("check", "--baseline", before, "--candidate", after)
    for change in (
        lambda raw: raw["metrics"][0].update(value=float("nan")),
        lambda raw: raw.update(schema_version=2),
    ):
        edited(after, change)
        found = cli(*asked)
        assert found.code == 2 and found.err.count("\n") == 1 and "pets--p-q--s0.json" in found.err
        store_result(after, "m", 0.8, dataset="pets", n=2000)
    (after / "results" / "m" / "nmc" / "pets--p-q--s0.json").write_text('{"half')
    found = cli(*asked)
    assert found.code == 2 and found.err.count("\n") == 1 and "pets--p-q--s0.json" in found.err


def test_an_empty_folder_makes_no_sense(folders: tuple[Path, Path], tmp_path: Path, cli: CommandLine) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in (("--baseline", tmp_path / "empty", "--candidate", folders[1]),
                      ("--baseline", folders[0], "--candidate", tmp_path / "empty"),
                      ("--baseline", folders[0], "--candidate", tmp_path / "absent")):  # fmt: skip
        found = cli("check", *arguments)
        assert found.code == 2 and found.err.count("\n") == 1 and str(tmp_path) in found.err


def test_places_are_checked(folders: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = folders
    store_result(before, "other", 0.9, n=2000)
    with pytest.raises(RequestError, match="several models"):
        run_check(str(before), str(after), Policy())
    assert verdicts(run_check(f"{before}:m", f"{before}:other", Policy()))["pets/nmc"] == "improved"
    with pytest.raises(RequestError, match="did you mean other"):
        run_check(f"{before}:othr", str(after), Policy())
    with pytest.raises(ResultError):
        run_check(str(tmp_path / "nowhere"), str(after), Policy())
    store_result(tmp_path / "else", "m", 0.8, dataset="birds")
    with pytest.raises(RequestError, match="none in common"):
        run_check(str(tmp_path / "else"), str(after), Policy())


def test_policies_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("margin: 1.0\ntasks: {knn: {margin: 2.0, action: warn}}\nrequired: [pets/knn]\n")
    policy = load_policy(path, alpha=0.01)
    assert (policy.margin, policy.alpha, policy.of("knn").margin, policy.of("linear").margin) == (1.0, 0.01, 2.0, 1.0)
    path.write_text("margn: 1.0\n")
    with pytest.raises(RequestError, match="margin"):
        load_policy(path)
    with pytest.raises(RequestError, match="--alpha"):
        load_policy(None, alpha=1.5)


def test_the_documented_policy_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "gate.md").read_text("utf-8")
    policy = Policy.model_validate(yaml.safe_load(page.split("```yaml\n")[1].split("```")[0]))
    assert policy.of("lowshot").action == "warn" and policy.of("knn").margin == 1.0


def test_reports_for_people_and_programs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = checked(folders)
    console = Console(file=io.StringIO(), width=180, record=True)
    console.print(render(found))
    assert "FAILED" in console.export_text()
    assert "| cars/nmc | top1 | 80.00 | 70.00 | -10.00 |" in markdown(found)
    suite = ElementTree.fromstring(junit(found))
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    assert {case.get("name") for case in suite if case.find("failure") is not None} == {
        "cars/nmc/top1",
        "food/nmc/top1",
    }
    parsed = json.loads(as_json(found))
    assert parsed["exit_code"] == 1 and {cell["outcome"] for cell in parsed["cells"]} == {"pass", "fail"}
    for name in ("a.md", "a.xml", "a.json"):
        write_report(found, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 100
    with pytest.raises(RequestError, match="endings"):
        write_report(found, tmp_path / "a.pdf")


def test_names_cannot_write_markup_into_a_report(tmp_path: Path) -> None:
    for side in ("a", "b"):
        store_result(tmp_path / side, "m", 0.8, dataset="<script>alert(1)</script>|x", n=200)
    found = checked((tmp_path / "a", tmp_path / "b"))
    assert "<script>" not in markdown(found) and r"\|x" in markdown(found)
    assert "<script>" not in junit(found)
