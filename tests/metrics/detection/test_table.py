"""The table of detections: what goes in comes out, and what makes no sense is refused in one line."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco_mask

from benchmark.data.runlength import from_run_lengths
from benchmark.errors import ResultError
from benchmark.metrics.columns import facts_of
from benchmark.metrics.detection.images import read_images
from benchmark.metrics.detection.table import Detections, detection_table
from benchmark.metrics.registry import score
from tests.metrics.detection.worlds import ids_of, table_of, world

CLASSES = 6


def test_what_goes_in_comes_out_of_a_file() -> None:
    objects, found = world(20, CLASSES, 1, masks=True, difficult=0.2)
    stream = io.BytesIO()
    pq.write_table(table_of((objects, found), CLASSES), stream, compression="zstd")
    table = pq.read_table(io.BytesIO(stream.getvalue()))
    assert facts_of(table) == {"scorer": "detection", "classes": CLASSES}
    images = read_images(table, CLASSES)
    for place, (there, guess) in enumerate(zip(objects, found, strict=True)):
        mine, theirs = images.targets.image == place, images.found.image == place
        order = np.argsort(-guess.scores, kind="stable")
        assert tuple(images.size[place]) == there.size
        assert np.array_equal(images.targets.box[mine], there.boxes)
        assert np.array_equal(images.targets.label[mine], there.labels)
        assert np.array_equal(images.crowd[mine], there.crowd)
        assert np.array_equal(images.difficult[mine], there.difficult)
        assert np.array_equal(images.area[mine], there.areas)
        assert np.array_equal(images.found.box[theirs], guess.boxes[order])
        assert np.array_equal(images.found.label[theirs], guess.labels[order])
        assert np.array_equal(images.score[theirs], guess.scores[order])
        assert images.targets.masks is not None and there.segments is not None
        for row, runs in zip(np.flatnonzero(mine), there.segments, strict=True):
            code = {"size": list(there.size), "counts": images.targets.masks[int(row)].as_py().encode()}
            assert np.array_equal(coco_mask.decode(code).astype(bool), from_run_lengths(runs, there.size))
    assert images.found.masks is not None
    assert images.found.masks.to_pylist() == [
        one.masks[index] for one in found if one.masks for index in np.argsort(-one.scores, kind="stable")
    ]


def test_the_best_of_an_image_are_kept_and_equal_ones_in_the_order_given() -> None:
    objects, _ = world(1, CLASSES, 2)
    count = 7
    boxes = np.arange(4.0 * count).reshape(count, 4)
    guess = Detections(boxes, np.arange(count) % CLASSES, np.array([0.1, 0.9, 0.5, 0.5, 0.9, 0.5, 0.2]))
    images = read_images(detection_table(ids_of(1), objects, [guess], CLASSES, max_detections=4), CLASSES)
    assert images.found.box[:, 0].tolist() == [4, 16, 8, 12] and images.score.tolist() == [
        np.float32(one) for one in (0.9, 0.9, 0.5, 0.5)
    ]


def test_images_are_taken_one_at_a_time_and_codes_as_pycocotools_gives_them() -> None:
    objects, found = world(6, CLASSES, 2, masks=True)
    table = detection_table(ids_of(6), iter(objects), (one for one in found), CLASSES)
    raw = [replace(one, masks=[code.encode() for code in one.masks or ()]) for one in found]
    assert detection_table(ids_of(6), objects, raw, CLASSES).equals(table)
    chunked = pa.chunked_array([ids_of(6)[:2], ids_of(6)[2:]])
    assert detection_table(chunked, objects, found, CLASSES).equals(table)


def test_a_table_without_images_has_no_figures() -> None:
    with pytest.raises(ResultError, match="rows"):
        score(detection_table(ids_of(0), [], [], CLASSES))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: replace(one, boxes=one.boxes[1:]), "equally many"),
        (lambda one: replace(one, scores=one.scores[1:]), "equally many"),
        (lambda one: replace(one, masks=one.masks[1:]), "equally many"),
        (lambda one: replace(one, masks=None), "masks for all images"),
    ],
)
def test_parts_of_an_image_that_do_not_fit_are_not_written(
    change: Callable[[Detections], Detections], words: str
) -> None:
    objects, found = world(6, CLASSES, 2, masks=True)
    place = max(range(6), key=lambda index: len(found[index].labels))
    broken = [change(one) if index == place else one for index, one in enumerate(found)]
    with pytest.raises(ResultError, match=words):
        table_of((objects, broken), CLASSES)


def test_counts_and_masks_of_both_sides_must_fit() -> None:
    objects, found = world(6, CLASSES, 2, masks=True)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        detection_table(ids_of(6), objects, found[:5], CLASSES)
    with pytest.raises(ResultError, match="5 images"):
        detection_table(ids_of(5), objects, found, CLASSES)
    with pytest.raises(ResultError, match="masks of the annotated"):
        table_of(([replace(one, segments=None) for one in objects], found), CLASSES)


def changed(table: pa.Table, name: str, change: Callable[[list], list]) -> pa.Table:
    place = table.column_names.index(name)
    values = pa.array(change(table.column(name).to_pylist()), table.schema.field(name).type)
    return table.set_column(place, table.schema.field(name), values)


def first(change: Callable[[list], list]) -> Callable[[list], list]:
    """Changes the first list that is long enough."""

    def of(rows: list) -> list:
        place = next(index for index, row in enumerate(rows) if len(row) > 7)
        return [change(row) if index == place else row for index, row in enumerate(rows)]

    return of


def put(value: object, at: int = 0) -> Callable[[list], list]:
    return first(lambda row: [*row[:at], value, *row[at + 1 :]])


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("scores", put(float("nan")), "scores in"),
        ("scores", put(1.5), "scores in"),
        ("scores", put(-0.1, 7), "scores in"),
        ("scores", first(lambda row: sorted(row)), "best first"),
        ("scores", first(lambda row: row[1:]), "as many in 'scores'"),
        ("scores", put(None), "no nulls within"),
        ("labels", put(CLASSES), "'labels' in"),
        ("labels", put(-1), "'labels' in"),
        ("labels", first(lambda row: row[1:]), "as many in 'boxes'"),
        ("target_labels", put(CLASSES), "'target_labels' in"),
        ("boxes", first(lambda row: row[:-1]), "as many in 'boxes'"),
        ("boxes", put(1e9), "x0 <= x1"),
        ("boxes", put(float("inf"), 2), "x0 <= x1"),
        ("target_boxes", put(float("nan")), "x0 <= x1"),
        ("target_areas", put(-1.0), "areas in pixels"),
        ("target_areas", put(float("nan")), "areas in pixels"),
        ("target_crowd", first(lambda row: row[1:]), "as many in 'target_crowd'"),
        ("target_difficult", put(None), "no nulls within"),
        ("masks", put("0"), "runs of"),
        ("masks", put(""), "a code for every mask"),
        ("target_masks", first(lambda row: row[1:]), "as many in 'target_masks'"),
        ("height", lambda rows: [0, *rows[1:]], "images of some size"),
        ("width", lambda rows: [1 << 20, *rows[1:]], "'width' in"),
        ("sample", lambda rows: [rows[1], *rows[1:]], "each sample once"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(name: str, change: Callable[[list], list], words: str) -> None:
    table = table_of(world(20, CLASSES, 3, masks=True), CLASSES)
    score(table)
    with pytest.raises(ResultError, match=words) as error:
        score(changed(table, name, change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["target_masks", "boxes", "target_areas", "height"])
def test_a_column_that_is_missing_or_of_another_type_is_refused(name: str) -> None:
    table = table_of(world(20, CLASSES, 3, masks=True), CLASSES)
    place = table.column_names.index(name)
    for broken in (table.remove_column(place), table.set_column(place, name, pa.array(["x"] * 20))):
        with pytest.raises(ResultError):
            score(broken)


def test_a_table_of_one_scorer_is_not_read_by_the_other() -> None:
    table = table_of(world(20, CLASSES, 3, crowds=0.0), CLASSES)
    with pytest.raises(ResultError, match="detection-voc"):
        score(table, "detection-voc")
