"""Stored detections and pixel counts go the whole way: verified, compared, put on a site."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.results.store import sha256
from leaderboard.gate.compare import run_check
from leaderboard.gate.policy import Policy
from leaderboard.pairwise import clear_winner, compare_all
from leaderboard.site.build import build_site
from leaderboard.statistics import paired_difference
from leaderboard.tables import read_entries, wide_columns, wide_table
from leaderboard.verify import verify_folder
from tests.leaderboard.stores import store_table
from tests.metrics.detection.worlds import table_of, world

CLASSES = 6


def detections(skill: float, detector: int, masks: bool = False, scorer: str = "detection") -> pa.Table:
    """Of one set of 90 images."""
    found = world(90, CLASSES, 5, skill=skill, detector=detector, masks=masks, crowds=0.0, side=150)
    return table_of(found, CLASSES, scorer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three detectors on one dataset, two of them with masks on another, one under VOC's protocol."""
    for name, skill, detector in (("good", 0.9, 1), ("fair", 0.7, 2), ("poor", 0.4, 3)):
        store_table(tmp_path, name, detections(skill, detector), "detection", "AP", dataset="coco")
    for name, skill, detector in (("good", 0.9, 4), ("poor", 0.4, 5)):
        store_table(tmp_path, name, detections(skill, detector, True), "detection", "mask_AP", dataset="masks")
    voc = detections(0.9, 6, scorer="detection-voc")
    store_table(tmp_path, "good", voc, "detection-voc", "AP50@11pt", dataset="voc")
    return tmp_path


def test_figures_are_reproduced_from_the_stored_table_alone(folder: Path) -> None:
    verdicts = list(verify_folder(folder))
    assert [verdict.problems for verdict in verdicts] == [()] * 6
    assert sorted(verdict.metrics for verdict in verdicts) == [7, 10, 10, 10, 20, 20]  # no object is large


@pytest.mark.parametrize("column", ["scores", "boxes", "target_areas", "masks"])
def test_a_detection_that_was_changed_later_is_found(folder: Path, column: str) -> None:
    """Even where the digest of the predictions is changed with it."""
    path = next(folder.glob("predictions/good/**/masks--*.parquet"))
    table = pq.read_table(path)
    values = table.column(column).combine_chunks()
    flat = values.values.to_pylist()
    flat = flat[::-1] if column == "masks" else [value * 0.9 for value in flat]
    changed = pa.ListArray.from_arrays(values.offsets, pa.array(flat, values.type.value_type))
    pq.write_table(table.set_column(table.column_names.index(column), table.schema.field(column), changed), path)
    result = next(folder.glob("results/good/**/masks--*.json"))
    raw = json.loads(result.read_text())
    raw["predictions_sha256"] = sha256(path)
    result.write_text(json.dumps(raw))
    problems = [problem for verdict in verify_folder(folder) for problem in verdict.problems]
    if column == "scores":  # a scale keeps every rank, and with it every figure
        assert problems == []
    elif column == "masks":
        assert len(problems) == 1 and "runs of" in problems[0]  # of images of other sizes
    else:
        assert len(problems) > 5 and all("recomputed" in problem for problem in problems)


def test_the_gate_sees_a_detector_that_got_worse(tmp_path: Path) -> None:
    for side, skill in (("before", 0.9), ("same", 0.9), ("after", 0.5)):
        store_table(tmp_path / side, "m", detections(skill, 1), "detection", "AP")
    policy = Policy.model_validate({})
    assert run_check(str(tmp_path / "before"), str(tmp_path / "same"), policy).exit_code == 0
    found = run_check(str(tmp_path / "before"), str(tmp_path / "after"), policy)
    (cell,) = found.cells
    assert (cell.verdict, cell.metric, found.exit_code) == ("regressed", "AP", 1)
    assert cell.difference is not None and cell.difference.n == 90 and cell.difference.test == "bootstrap"


def test_other_images_or_annotations_are_not_compared(tmp_path: Path) -> None:
    objects, found = world(90, CLASSES, 5, crowds=0.0)
    moved = [replace(one, boxes=one.boxes * 0.99) for one in objects]
    store_table(tmp_path / "before", "m", table_of((objects, found), CLASSES), "detection", "AP")
    store_table(tmp_path / "after", "m", table_of((moved, found), CLASSES), "detection", "AP")
    (cell,) = run_check(str(tmp_path / "before"), str(tmp_path / "after"), Policy.model_validate({})).cells
    assert cell.verdict == "not comparable" and "same targets" in cell.note


def test_detectors_are_compared_in_pairs_and_the_best_one_is_named(folder: Path) -> None:
    columns = {column.label: column for column in wide_columns(read_entries([folder]))}
    (coco,) = (column for label, column in columns.items() if label.startswith("coco"))
    pairs = compare_all(coco)
    assert pairs.models == ("good", "fair", "poor") and not pairs.untested
    assert clear_winner(coco, pairs) == "good"
    alone = paired_difference(detections(0.4, 3), detections(0.9, 1), "AP")
    assert pairs.delta[0, 2] == pytest.approx(alone.delta)
    assert 2 * pairs.half[0, 2] == pytest.approx(alone.ci_high - alone.ci_low, rel=0.1)
    frame = wide_table(read_entries([folder])).set_index("model")
    assert frame.loc["good", "masks/nmc/mask_AP"] > frame.loc["poor", "masks/nmc/mask_AP"] > 0
    assert np.isnan(frame.loc["fair", "voc/nmc/AP50@11pt"])


def test_a_site_is_made_of_them(folder: Path, tmp_path: Path) -> None:
    site = build_site(read_entries([folder]), tmp_path / "site", "Detectors")
    text = (site.folder / "data" / "board.js").read_text(encoding="utf-8")
    for name in ("AP", "mask_AP", "AP50@11pt"):
        assert f'"{name}"' in text, name
