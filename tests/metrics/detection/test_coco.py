"""COCO's protocol against pycocotools' COCOeval, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco_mask

from benchmark.data.annotations import Objects
from benchmark.errors import ResultError
from benchmark.metrics.columns import join
from benchmark.metrics.detection.images import read_images
from benchmark.metrics.detection.overlap import box_overlap, box_pairs
from benchmark.metrics.detection.table import Detections, detection_table
from benchmark.metrics.registry import get_scorer, score
from tests.metrics.detection.worlds import World, coco_eval, coco_figures, ids_of, table_of, world


def figures(found: World, classes: int, **options: object) -> dict[str, float]:
    return {metric.name: metric.value for metric in score(table_of(found, classes, **options))}


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_judged_as_cocoeval_does(seed: int) -> None:
    found = world(seed=seed, whole=seed % 2 == 0, crowds=0.1 if seed else 0.4)
    assert figures(found, 6) == coco_figures(found, 6)


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_judged_as_cocoeval_does(seed: int) -> None:
    found = world(seed=seed, masks=True)
    masks = {f"mask_{name}": value for name, value in coco_figures(found, 6, "segm").items()}
    assert figures(found, 6) == coco_figures(found, 6) | masks
    assert masks["mask_AP"] != figures(found, 6)["AP"]


def test_the_worlds_hold_everything_that_makes_the_protocol_hard() -> None:
    """So that equality says something: crowds found twice, ignored finds, ties, empty images, absent classes."""
    found = world(seed=0, crowds=0.4)
    judged = coco_eval(found, 6)
    per_image = [one for one in judged.evalImgs if one is not None]
    twice = [
        one for one in per_image if len(np.unique(kept := one["dtMatches"][0][one["dtMatches"][0] > 0])) < len(kept)
    ]
    assert len(twice) > 3, "crowds taken several times"
    assert sum(int((one["dtIgnore"] > 0).sum()) for one in per_image) > 100
    scores = np.concatenate([one.scores for one in found[1]])
    assert len(np.unique(scores)) < len(scores) / 10, "ties"
    sides = {(len(there) > 0, len(guess.labels) > 0) for there, guess in zip(*found, strict=True)}
    assert len(sides) == 4, "images that are empty on one side, the other, both and neither"
    annotated = {int(label) for one in found[0] for label in one.labels}
    guessed = {int(label) for one in found[1] for label in one.labels}
    assert guessed - annotated == {5} and annotated - guessed == {4}


def test_of_a_class_in_an_image_the_hundred_best_count() -> None:
    """More detections than that, the one object found by the last of 101 and by the last of 100."""
    box = np.array([[10.0, 10, 50, 50]])
    there = Objects(box, np.zeros(1, int), np.zeros(1, bool), np.zeros(1, bool), np.array([1600.0]), None, (99, 99))
    for before, expected in ((99, 1.0), (100, 0.0)):
        wrong = np.tile([60.0, 60, 90, 90], (before, 1))
        scores = np.linspace(0.9, 0.1, before + 1)
        guess = Detections(np.concatenate([wrong, box]), np.zeros(before + 1, int), scores)
        images: World = ([there], [guess])
        got = figures(images, 1, max_detections=200)
        assert got == coco_figures(images, 1)
        assert got["AP"] == pytest.approx(expected) and got["AR10"] == 0


def test_a_figure_about_nothing_is_left_out() -> None:
    objects, found = world(seed=1)
    large = [replace(one, areas=np.full(len(one), 1e5)) for one in objects]
    got = figures((large, found), 6)
    assert not {"APs", "APm", "ARs", "ARm"} & got.keys() and {"AP", "APl", "ARl"} <= got.keys()
    assert got == coco_figures((large, found), 6)
    crowds = [replace(one, crowd=np.ones(len(one), bool)) for one in objects]
    with pytest.raises(ResultError, match="objects to find"):
        figures((crowds, found), 6)


def test_nothing_found_is_a_zero_with_an_interval() -> None:
    objects, found = world(seed=1)
    nothing = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    for metric in score(table_of((objects, [nothing] * len(found)), 6)):
        assert metric.value == metric.ci_low == 0 < metric.ci_high < 80, metric


def test_difficult_objects_count_neither_way_as_those_outside_an_area_range() -> None:
    """Which COCOeval does for an object larger than its largest range."""
    objects, found = world(seed=2, difficult=0.3)
    away = [
        replace(one, areas=np.where(one.difficult, 1e11, one.areas), difficult=np.zeros(len(one), bool))
        for one in objects
    ]
    got = figures((objects, found), 6)
    assert got == coco_figures((away, found), 6)
    assert got != figures(([replace(one, difficult=np.zeros(len(one), bool)) for one in objects], found), 6)


def test_images_are_taken_in_the_order_of_their_ids_however_they_are_stored() -> None:
    found = world(seed=3)
    table = table_of(found, 6)
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = table.take(pa.array(order))
    assert score(shuffled) == score(table)
    renamed = tuple([side[index] for index in order] for side in found)
    assert {m.name: m.value for m in score(table_of(renamed, 6))} == coco_figures(renamed, 6)
    assert coco_figures(renamed, 6) != coco_figures(found, 6), "ties are broken by the order of images"


def test_overlaps_of_boxes_are_those_of_cocoapi_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    images = read_images(table_of(world(seed=4), 6), 6)
    for block in (7, 1 << 20):
        monkeypatch.setattr("benchmark.metrics.detection.overlap._BLOCK", block)
        pairs = box_pairs(images, 6, 1e-9)
        assert len(pairs.found) > 100
        for found, target, overlap in zip(pairs.found, pairs.target, pairs.overlap, strict=True):
            boxes = [side.box[one] for side, one in ((images.found, found), (images.targets, target))]
            given = [np.concatenate([box[:2], box[2:] - box[:2]])[None] for box in boxes]
            assert coco_mask.iou(given[0], given[1], [int(images.crowd[target])])[0, 0] == overlap
    with np.errstate(all="raise"):  # boxes without an area
        flat = np.array([[5.0, 5, 5, 9]])
        assert box_overlap(flat, flat, np.array([False])).tolist() == [0]


def test_draws_are_averaged_and_variants_stay_apart() -> None:
    found = world(seed=5)
    other = (found[0], [replace(one, scores=one.scores[::-1]) for one in found[1]])
    tables = [table_of(one, 6, draw=draw, variant="k") for draw, one in enumerate((found, other))]
    table = join([*tables, table_of(found, 6)])
    got = {metric.name: metric for metric in score(table)}
    each = [figures(one, 6) for one in (found, other)]
    assert got["AP"].value == each[0]["AP"] and got["AP"].draws == 1
    assert got["AP@k"].value == pytest.approx(np.mean([one["AP"] for one in each]))
    assert got["AP@k"].draws == 2 and got["AP@k"].spread == pytest.approx(np.std([one["AP"] for one in each], ddof=1))
    wrong = detection_table(ids_of(40), [*found[0][1:], found[0][0]], found[1], 6, draw=1)
    with pytest.raises(ResultError, match="same objects"):
        get_scorer("detection").check(join([table_of(found, 6), wrong]))
