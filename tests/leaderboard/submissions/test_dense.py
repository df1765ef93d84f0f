"""Dense results sent to a board: judged on its images, pixels, boxes and masks, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmark.errors import ResultError
from benchmark.metrics.columns import segmentation_table
from benchmark.results.schema import Result
from benchmark.results.store import ResultStore, read_predictions
from leaderboard.submissions.board import Board
from leaderboard.submissions.merge import Outcome, merge
from leaderboard.verify import verify_folder
from tests.leaderboard.submissions.sending import send
from tests.metrics.detection.worlds import World, table_of, world

IMAGES, CLASSES = 40, 4


def pixels(skill: float, seed: int = 0, images: int = IMAGES) -> pa.Table:
    """Counts on one set of masks (another one with another seed)."""
    rng = np.random.default_rng(seed)
    labelled = rng.multinomial(400, [0.4, 0.3, 0.2, 0.1], IMAGES)[:images]
    hit = np.random.default_rng(1).binomial(labelled, skill)
    missed = labelled - hit
    ids = pa.array([f"{index:03d}" for index in range(images)])
    return segmentation_table(ids, hit, hit + np.roll(missed, 1, axis=1), labelled)


def merged(sent: Path, board: Path) -> Outcome:
    (outcome,) = merge([sent], board).outcomes
    return outcome


def test_segmentations_of_the_boards_masks_are_merged(tmp_path: Path) -> None:
    for name, skill in (("ours", 0.8), ("theirs", 0.7)):
        send(tmp_path / name, name, pixels(skill), data_n_reported=IMAGES)
        assert merged(tmp_path / name, tmp_path / "board").status == "merged"
    verdicts = list(verify_folder(tmp_path / "board"))
    assert len(verdicts) == 2 and not any(verdict.problems for verdict in verdicts)


@pytest.mark.parametrize("known", [True, False])
def test_segmentations_of_other_masks_or_fewer_images_are_refused(tmp_path: Path, known: bool) -> None:
    if known:
        send(tmp_path / "board", "ours", pixels(0.8), data_n_reported=IMAGES)
        send(tmp_path / "other", "theirs", pixels(0.9, seed=1), data_n_reported=IMAGES)
        outcome = merged(tmp_path / "other", tmp_path / "board")
        assert outcome.status == "refused" and "labels of the board" in outcome.reason
    send(tmp_path / "fewer", "theirs", pixels(0.9, images=30), data_n_reported=IMAGES)
    outcome = merged(tmp_path / "fewer", tmp_path / "board")
    assert outcome.status == "refused" and f"{IMAGES} images" in outcome.reason


def judge(board: Path, found: World, headline: str = "AP", images: int = IMAGES) -> None:
    """What a board does with detections that break no other rule."""
    sender = board.parent / "sender"
    path = send(sender, "theirs", table_of(found, CLASSES), data_n_reported=images, headline=headline)
    result = Result.model_validate_json(path.read_text(encoding="utf-8"))
    Board(board).check(result, read_predictions(sender, result))


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """One detector without masks, one with."""
    plain, masked = (world(IMAGES, CLASSES, 3, masks=masks, detector=1) for masks in (False, True))
    send(tmp_path / "board", "boxes", table_of(plain, CLASSES), data_n_reported=IMAGES)
    send(tmp_path / "board", "masks", table_of(masked, CLASSES), data_n_reported=IMAGES, headline="mask_AP")
    assert len(list(ResultStore(tmp_path / "board").results())) == 2
    return tmp_path / "board"


@pytest.mark.parametrize("masks", [True, False])
def test_detections_of_the_boards_objects_are_taken_with_and_without_masks(board: Path, masks: bool) -> None:
    judge(board, world(IMAGES, CLASSES, 3, masks=masks, detector=2), "mask_AP" if masks else "AP")


@pytest.mark.parametrize("part", ["boxes", "areas", "crowd"])
def test_detections_of_other_objects_are_refused(board: Path, part: str) -> None:
    objects, found = world(IMAGES, CLASSES, 3, detector=2)
    easier = {
        "boxes": lambda one: one.boxes + 0.25,
        "areas": lambda one: one.areas + 1,
        "crowd": lambda one: np.ones(len(one), bool) if len(one) > 2 else one.crowd,
    }[part]
    changed = [replace(one, **{part: easier(one)}) for one in objects]
    with pytest.raises(ResultError, match="labels of the board"):
        judge(board, (changed, found))


def test_detections_of_other_masks_are_refused(board: Path) -> None:
    objects, found = world(IMAGES, CLASSES, 3, masks=True, detector=2)
    flipped = [replace(one, segments=None if one.segments is None else one.segments[::-1]) for one in objects]
    with pytest.raises(ResultError, match="labels of the board"):
        judge(board, (flipped, found), "mask_AP")


def test_detections_of_fewer_images_are_refused(board: Path, tmp_path: Path) -> None:
    objects, found = world(IMAGES, CLASSES, 3, detector=2)
    for where in (board, tmp_path / "empty"):
        with pytest.raises(ResultError, match=f"{IMAGES} images"):
            judge(where, (objects[1:], found[1:]))
