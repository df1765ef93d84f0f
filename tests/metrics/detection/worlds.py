"""Images with objects and detections of all kinds, and what COCOeval says of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmark.data.annotations import Objects
from benchmark.data.runlength import run_lengths
from benchmark.metrics.detection.codes import encode_masks
from benchmark.metrics.detection.table import Detections, detection_table

COCO_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""As in `COCOeval.stats`."""

World = tuple[list[Objects], list[Detections]]


def world(
    images: int = 40,
    classes: int = 6,
    seed: int = 0,
    *,
    skill: float = 0.7,
    crowds: float = 0.1,
    difficult: float = 0.0,
    side: int = 240,
    masks: bool = False,
    whole: bool = False,
    ties: bool = True,
    spurious: int = 12,
    detector: int = 0,
) -> World:
    """Objects of all sizes, and detections of them: near, doubled, of another class, out of nothing.

    The last class is never annotated and the one before it never detected; some images are empty on a side or on both.
    Every annotated area differs from that of its box. `ties`: scores have one decimal. Another `detector` finds other
    things among the same objects.
    """
    rng, chance = np.random.default_rng(seed), np.random.default_rng([seed, detector])
    objects, found = [], []
    for image in range(images):
        h, w = (int(n) for n in rng.integers(side // 2, side, 2))
        count = int(rng.integers(0, 9)) if image % 10 else 0
        boxes = _boxes(rng, count, h, w)
        labels = rng.choice(classes - 1, count, p=_frequency(classes - 1)) if count else np.zeros(0, np.int64)
        seen = np.flatnonzero(chance.random(count) < skill)
        seen = np.concatenate([seen, chance.choice(seen, len(seen) // 3) if len(seen) else seen]).astype(int)
        jitter = chance.normal(0, 0.06, (len(seen), 4)) * np.tile(boxes[seen, 2:] - boxes[seen, :2], 2)
        near = boxes[seen] + jitter * chance.choice([0, 1, 1, 2], (len(seen), 1))
        noise = int(chance.integers(0, spurious)) if chance.random() < 0.9 else 0
        guess = np.concatenate([near, _boxes(chance, noise, h, w)])
        named = np.concatenate([labels[seen], chance.integers(0, classes, noise)])
        named = np.where(chance.random(len(named)) < 0.1, chance.integers(0, classes, len(named)), named)
        score = np.concatenate([chance.beta(4, 2, len(seen)), chance.beta(2, 4, noise)])
        kept = (
            np.full(len(guess), image % 14 > 0)
            & (guess[:, 2] > guess[:, 0])
            & (guess[:, 3] > guess[:, 1])
            & (named != classes - 2)
        )
        guess, named, score = guess[kept], named[kept], score[kept]
        if whole:
            boxes, guess = boxes.round(), np.stack([*np.floor(guess[:, :2]).T, *np.ceil(guess[:, 2:]).T], axis=1)
        drawn = [_ellipses(part, h, w) for part in (boxes, guess)] if masks else None
        objects.append(
            Objects(
                boxes=boxes,
                labels=labels.astype(np.int64),
                crowd=rng.random(count) < crowds,
                difficult=rng.random(count) < difficult,
                areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.uniform(0.5, 1, count),
                segments=tuple(run_lengths(mask) for mask in drawn[0]) if drawn else None,
                size=(h, w),
            )
        )
        score = (score.round(1) if ties else score).astype(np.float32)
        found.append(Detections(guess.astype(np.float32), named, score, encode_masks(drawn[1]) if drawn else None))
    return objects, found


def _frequency(classes: int) -> np.ndarray:
    weight = 0.7 ** np.arange(classes)
    return weight / weight.sum()


def _boxes(rng: np.random.Generator, count: int, h: int, w: int) -> np.ndarray:
    size = np.exp(rng.uniform(np.log(6), np.log(0.9 * min(h, w)), (count, 2)))
    corner = rng.random((count, 2)) * (np.array([w, h]) - size)
    return np.concatenate([corner, corner + size], axis=1)


def _ellipses(boxes: np.ndarray, h: int, w: int) -> np.ndarray:
    """(K, h, w) the ellipse in each box."""
    y, x = np.mgrid[:h, :w] + 0.5
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    across = (x - middle[:, 0, None, None]) / half[:, 0, None, None]
    down = (y - middle[:, 1, None, None]) / half[:, 1, None, None]
    return across**2 + down**2 <= 1


def ids_of(count: int) -> pa.Array:
    return pa.array([f"{index:06d}" for index in range(count)])


def table_of(found: World, classes: int, scorer: str = "detection", **options: object) -> pa.Table:
    return detection_table(ids_of(len(found[0])), *found, classes, scorer=scorer, **options)


def coco_eval(found: World, classes: int, kind: str = "bbox", areas: Sequence[np.ndarray] | None = None) -> COCOeval:
    """COCOeval after `accumulate`, its images numbered in the order given."""
    objects, detections = found
    annotations, results = [], []
    for image, (target, guess) in enumerate(zip(objects, detections, strict=True), start=1):
        for k in range(len(target)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(target.labels[k]),
                    "bbox": _xywh(target.boxes[k]),
                    "area": float(target.areas[k]),
                    "iscrowd": int(target.crowd[k]),
                }
            )
            if target.segments is not None:
                code = {"size": list(target.size), "counts": target.segments[k].tolist()}
                annotations[-1]["segmentation"] = coco_mask.frPyObjects(code, *target.size)
        for k in range(len(guess.labels)):
            one = {"image_id": image, "category_id": int(guess.labels[k]), "score": float(guess.scores[k])}
            if kind == "segm":
                assert guess.masks is not None
                one["segmentation"] = {"size": list(target.size), "counts": guess.masks[k].encode()}
            else:
                one["bbox"] = _xywh(guess.boxes[k])
            results.append(one)
    truth = COCO()
    truth.dataset = {
        "images": [
            {"id": image, "height": one.size[0], "width": one.size[1]} for image, one in enumerate(objects, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": label, "name": str(label)} for label in range(classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def coco_figures(found: World, classes: int, kind: str = "bbox") -> dict[str, float]:
    """COCOeval's summary in percent, undefined figures left out."""
    stats = coco_eval(found, classes, kind).stats
    return {name: 100 * value for name, value in zip(COCO_NAMES, stats.tolist(), strict=True) if value >= 0}


def _xywh(box: np.ndarray) -> list[float]:
    x0, y0, x1, y1 = box.astype(np.float64).tolist()
    return [x0, y0, x1 - x0, y1 - y0]
