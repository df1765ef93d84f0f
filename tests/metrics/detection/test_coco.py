"""COCO's protocol against pycocotools' COCOeval, to the last bit."""

from __future__ import annotations

import pytest

from benchmark.metrics.registry import score
from tests.metrics.detection.worlds import World, coco_figures, table_of, world


def figures(found: World, classes: int, **options: object) -> dict[str, float]:
    return {metric.name: metric.value for metric in score(table_of(found, classes, **options))}


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_judged_as_cocoeval_does(seed: int) -> None:
    found = world(seed=seed)
    assert figures(found, 6) == coco_figures(found, 6)


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_judged_as_cocoeval_does(seed: int) -> None:
    found = world(seed=seed, masks=True)
    masks = {f"mask_{name}": value for name, value in coco_figures(found, 6, "segm").items()}
    assert figures(found, 6) == coco_figures(found, 6) | masks
