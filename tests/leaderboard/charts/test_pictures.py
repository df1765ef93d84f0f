"""`show --task robustness`: a picture per result, one per column of several models, or a line that says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmark.errors import ResultError
from benchmark.results.store import CellKey, ResultStore
from leaderboard.charts.kinds import KINDS
from leaderboard.charts.pictures import heading, pictures
from tests.command import CommandLine
from tests.leaderboard.charts.tables import (
    STORES,
    failed,
    store_adversarial,
    store_calibration,
    store_corruptions,
    store_shift,
)
from tests.leaderboard.stores import store_result


def test_every_kind_is_drawn_for_one_model_and_for_two(tmp_path: Path) -> None:
    studies = [make(tmp_path, model, skill) for make in STORES for model, skill in (("a", 0.9), ("b", 0.6))]
    assert {study.result.scorer.name for study in studies} == set(KINDS) - {"imagenet-c"}  # drawn as corruptions are
    found = [path.name for path in pictures(tmp_path)]
    kinds = [study.result.protocol.name.replace("/", "-") for study in studies[::2]]
    wanted = {f"{who}photos--{kind}--s0.png" for kind in kinds for who in ("a--", "b--", "")}
    assert set(found) == wanted and len(found) == len(wanted)
    for name in found:
        image = Image.open(tmp_path / "pictures" / name)
        assert image.width > 600 and image.height > 350 and len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_the_command_prints_what_it_drew(cli: CommandLine, tmp_path: Path) -> None:
    for model in ("a", "b"):
        store_shift(tmp_path / "run", model, 0.8)
    outcome = cli("show", tmp_path / "run", "--task", "robustness", "--model", "b", "--out", tmp_path / "drawn")
    assert outcome.code == 0, outcome.err
    assert outcome.out.split() == [str(tmp_path / "drawn/b--photos--robust-shift--s0.png")]


def test_titles_say_model_dataset_protocol_and_number(tmp_path: Path) -> None:
    one, other = store_corruptions(tmp_path, "a", 0.9), store_corruptions(tmp_path, "b", 0.7)
    assert heading([one]) == "a · photos, split test · robust/corruptions · n = 120"
    assert heading([one, other]) == "2 models · photos, split test · robust/corruptions · n = 120"
    # the headline is of fewer images, AutoAttack's
    assert heading([store_adversarial(tmp_path, "a", 0.9)]).endswith("robust/adversarial · n = 120")


def test_results_that_may_not_be_ranked_together_are_not_drawn_together(tmp_path: Path) -> None:
    for model in ("a", "b"):
        store_shift(tmp_path, model, 0.8)
    (path,) = tmp_path.glob("results/b/robustness/*.json")
    record = json.loads(path.read_text())
    record["data"]["fingerprint"] = "other images"
    path.write_text(json.dumps(record))
    assert [path.name[:3] for path in pictures(tmp_path)] == ["a--", "b--"]


def test_a_result_without_the_figures_of_its_scorer_is_refused(tmp_path: Path) -> None:
    study = store_corruptions(tmp_path, "m", 0.9)
    (path,) = tmp_path.glob("results/m/robustness/*.json")
    record = json.loads(path.read_text())
    record["metrics"] = [metric for metric in record["metrics"] if metric["name"] != "error@fog"]
    path.write_text(json.dumps(record))
    with pytest.raises(ResultError, match=r"a figure 'error@fog' of scorer 'corruptions'.*--overwrite"):
        list(pictures(tmp_path))
    assert study.figure("error@fog").n == 120


def test_what_cannot_be_drawn_says_why(cli: CommandLine, tmp_path: Path) -> None:
    store_result(tmp_path, "m", 0.5)
    with pytest.raises(ResultError, match="done results of robustness"):
        list(pictures(tmp_path))
    study = store_calibration(tmp_path, "m", 0.8)
    with pytest.raises(ResultError, match="a model of"):
        list(pictures(tmp_path, model="n"))
    (path,) = tmp_path.glob("results/m/robustness/*.json")
    text = path.read_text()
    record = json.loads(text)
    record["scorer"]["name"] = "robustness-1"
    path.write_text(json.dumps(record))
    with pytest.raises(ResultError, match=r"a scorer that can be drawn .*found 'robustness-1' in m, photos"):
        list(pictures(tmp_path))
    path.write_text(text)
    (tmp_path / str(study.result.predictions)).unlink()
    outcome = cli("show", tmp_path, "--task", "robustness")
    assert outcome.code == 2 and "readable predictions" in outcome.err and outcome.err.count("\n") == 1
    ResultStore(tmp_path).write(CellKey("m", "robustness", "photos", "robust/calibration", 0), failed(study))
    with pytest.raises(ResultError, match="done results of robustness"):
        list(pictures(tmp_path))
