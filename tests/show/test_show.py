"""Pictures show the target where it is and the prediction where it was, or say in one line why they cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from benchmark.data.annotations import IGNORE, Objects
from benchmark.data.dataset import Dataset
from benchmark.data.source import open_source
from benchmark.errors import DataError, RequestError, ResultError
from benchmark.metrics.columns import segmentation_table
from benchmark.metrics.detection.codes import encode_runs
from benchmark.metrics.detection.table import Detections, detection_table
from benchmark.results.store import CellKey, ResultStore
from benchmark.show import show
from benchmark.show.answers import asked_of, chosen_results
from benchmark.show.colours import class_colours, ink_on
from benchmark.show.panels import Found, boxed, painted
from benchmark.show.sheet import sheet_of
from tasks.segmentation.scoring import encoded_map
from tests.command import CommandLine
from tests.results.examples import example_result

SOURCE = "scenes:?train=8&test=6&classes=4&size=64&difficulty=0.3"


def store(root: Path, data: Dataset, table: pa.Table, task: str, headline: str, model: str = "m") -> None:
    """A stored result of a task on the data."""
    key = CellKey(model, task, data.name, f"{task}/p", 0)
    path, digest = ResultStore(root).write_predictions(key, table)
    example = example_result()
    figure = {"name": headline, "value": 50.0, "ci_low": 40, "ci_high": 60, "higher_is_better": True, "n": 6}
    result = example_result(
        task=task,
        headline=headline,
        metrics=[figure],
        model={**example.model.model_dump(), "name": model},
        protocol={**example.protocol.model_dump(), "name": f"{task}/p"},
        data={
            **example.data.model_dump(),
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "reported_split": "test",
        },
        predictions=path,
        predictions_sha256=digest,
    )
    ResultStore(root).write(key, result)


def segmented(root: Path, drift: int = 0, maps: bool = True, model: str = "m") -> Dataset:
    """A result whose predictions are the masks, moved to the right by some pixels."""
    data = open_source("s", SOURCE)
    test = data.splits["test"]
    assert test.masks is not None
    masks = [test.masks.mask(index).astype(np.int64) for index in range(6)]
    guesses = [np.roll(mask, drift, axis=1) for mask in masks]
    counts = np.array(
        [
            [np.bincount(part.ravel(), minlength=5) for part in (guess[guess == mask], guess, mask)]
            for mask, guess in zip(masks, guesses, strict=True)
        ]
    ).transpose(1, 0, 2)
    drawn = [encoded_map(torch.from_numpy(guess), 5) for guess in guesses] if maps else None
    store(root, data, segmentation_table(test.ids, *counts, maps=drawn), "segmentation", "mIoU", model)
    return data


def detected(root: Path) -> Dataset:
    """A result that finds every object, and one more with a score of 0.1."""
    data = open_source("s", SOURCE)
    test = data.splits["test"]
    assert test.objects is not None
    objects = [test.objects.objects(index) for index in range(6)]

    def found() -> Iterator[Detections]:
        for each in objects:
            codes = encode_runs(each.segments or (), each.size)
            yield Detections(
                boxes=np.concatenate([each.boxes, [[1, 2, 30, 40]]]),
                labels=np.concatenate([each.labels, [0]]),
                scores=np.concatenate([np.linspace(0.9, 0.8, len(each)), [0.1]]),
                masks=[*codes, codes[0]],
            )

    store(root, data, detection_table(test.ids, objects, found(), 4), "detection", "AP")
    return data


def test_colours_are_told_apart() -> None:
    for count, distance in ((20, 60), (171, 8)):
        colours = class_colours(count).astype(int)
        assert min(np.abs(a - b).sum() for a, b in combinations(colours, 2)) > distance
    assert ink_on(np.array([250, 240, 90], np.uint8)) == (0, 0, 0)
    assert ink_on(np.array([20, 30, 120], np.uint8)) == (255, 255, 255)


def test_masks_tint_their_pixels_outline_them_and_leave_the_unknown_dark() -> None:
    photo = np.full((10, 10, 3), 200, np.uint8)
    labels = np.zeros((10, 10), np.int64)
    labels[3:7, 3:7], labels[0] = 2, IGNORE
    colours = class_colours(3)
    out = painted(photo, labels, colours, ("background", "a", "b"))
    assert (out[0] == 70).all() and (out[9, 0] == 200).all()
    assert np.abs(out[5, 5] - (200 * 0.4 + colours[2] * 0.6)).max() <= 1
    assert (out[3, 3] == colours[2]).all()  # on the outline
    assert not np.array_equal(out, painted(photo, np.roll(labels, 1, axis=1), colours, ("background", "a", "b")))


def test_boxes_stand_where_they_are_whatever_the_zoom() -> None:
    photo = np.zeros((40, 50, 3), np.uint8)
    box = np.array([[10.0, 20.0, 30.0, 36.0]])
    found = Found(box, np.array([1]), ("thing",), None, np.array([True]))
    colours = class_colours(2)
    image = np.asarray(boxed(photo, found, colours, 2.0))
    lit = np.argwhere((image == colours[1]).all(axis=2))
    assert lit.min(axis=0).tolist() == [40, 20] and lit.max(axis=0).tolist() == [71, 59]
    mask = np.zeros((1, 40, 50), bool)
    mask[0, 25:30, 12:20] = True
    veiled = np.asarray(boxed(photo, Found(box, np.array([1]), ("thing",), mask, np.array([False])), colours, 1.0))
    assert np.abs(veiled[27, 15] - colours[1] * 0.4).max() <= 1 and not veiled[33, 25].any()


def test_target_stands_beside_prediction_and_a_drift_is_seen(tmp_path: Path) -> None:
    data = segmented(tmp_path, drift=9)
    ((_, result),) = chosen_results(tmp_path, "segmentation", None)
    asked = asked_of(tmp_path, result, 4, 0.3)
    assert len(asked.rows) == 4 and asked.names == data.mask_classes
    for row in asked.rows:
        image, target, prediction = (np.asarray(panel).astype(int) for panel in row.panels)
        assert image.shape == target.shape == prediction.shape == (256, 256, 3)
        tint = [np.ptp(part, axis=2) > 8 for part in (target, prediction)]  # neither grey nor an outline in white
        moved = np.roll(tint[0], 36, axis=1)
        assert (moved == tint[1])[:, 40:-40].mean() > 0.97 > (tint[0] == tint[1]).mean()
        assert "of pixels right" in row.caption and 0 not in row.classes and row.classes
    page = sheet_of(asked)
    assert page.width > 3 * 256 and page.height > 4 * 256


def test_what_is_right_looks_like_its_target(tmp_path: Path) -> None:
    segmented(tmp_path)
    ((_, result),) = chosen_results(tmp_path, "segmentation", None)
    for row in asked_of(tmp_path, result, 3, 0.3).rows:
        assert row.panels[1].tobytes() == row.panels[2].tobytes() and "100% of pixels right" in row.caption


def test_objects_are_drawn_from_what_was_scored(tmp_path: Path) -> None:
    detected(tmp_path)
    ((_, result),) = chosen_results(tmp_path, "detection", None)
    few, all_ = (asked_of(tmp_path, result, 3, score).rows for score in (0.3, 0.05))
    for row, more in zip(few, all_, strict=True):
        image, target, prediction = (np.asarray(panel).astype(int) for panel in row.panels)
        assert (image != target).any() and (image != prediction).any()
        assert 0.02 < (target != image).any(axis=2).mean() < 0.98
        more_found = int(more.caption.split(", ")[1].split()[0])
        assert int(row.caption.split(", ")[1].split()[0]) == more_found - 1
        assert (np.asarray(more.panels[2]).astype(int) != prediction).any()


def test_the_command_writes_a_picture_per_result(cli: CommandLine, tmp_path: Path) -> None:
    for model in ("a", "b"):
        segmented(tmp_path / "run", model=model)
    outcome = cli("show", tmp_path / "run", "--task", "segmentation", "--n", "2", "--out", tmp_path / "pictures")
    assert outcome.code == 0, outcome.err
    paths = [Path(line) for line in outcome.out.split()]
    assert len(paths) == 2 and all(Image.open(path).width > 700 for path in paths)
    outcome = cli("show", tmp_path / "run", "--task", "segmentation", "--model", "b")
    (line,) = outcome.out.split()
    assert Path(line).parent == tmp_path / "run/pictures"


def test_data_that_has_changed_is_refused_in_one_line(tmp_path: Path) -> None:
    segmented(tmp_path)
    ((path, result),) = chosen_results(tmp_path, "segmentation", None)
    record = json.loads(path.read_text())
    record["data"]["source"] = SOURCE.replace("difficulty=0.3", "difficulty=0.4")
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=f"was evaluated on .{result.data.fingerprint[:12]}"):
        show(tmp_path, "segmentation")


def test_what_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    segmented(tmp_path, maps=False)
    with pytest.raises(ResultError, match="an earlier version made it"):
        show(tmp_path, "segmentation")
    with pytest.raises(ResultError, match="tasks segmentation"):
        show(tmp_path, "detection")
    with pytest.raises(ResultError, match="a model of"):
        show(tmp_path, "segmentation", model="n")
    with pytest.raises(RequestError, match="one image or more"):
        show(tmp_path, "segmentation", n=0)


def test_a_map_that_is_none_is_refused(tmp_path: Path) -> None:
    data = open_source("s", SOURCE)
    ids, counts = data.splits["test"].ids, np.zeros((6, 5), int)
    counts[:, 0] = 4096
    for content in (b"no picture", encoded_map(torch.full((4, 4), 7), 9)):
        table = segmentation_table(ids, counts, counts, counts, maps=[content] * 6)
        store(tmp_path, data, table, "segmentation", "mIoU")
        with pytest.raises(ResultError, match="a predicted map"):
            show(tmp_path, "segmentation")


def test_an_image_without_objects_is_drawn_as_it_is() -> None:
    nothing = Objects(np.zeros((0, 4)), np.zeros(0, np.int64), *[np.zeros(0, bool)] * 2, np.zeros(0), None, (8, 8))
    found = Found(nothing.boxes, nothing.labels, (), None, nothing.crowd)
    assert not np.asarray(boxed(np.zeros((8, 8, 3), np.uint8), found, class_colours(1), 1.0)).any()
