"""The corruptions of ImageNet-C against the published CPU implementation, on the same photos and cores."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import Pool

import numpy as np
import torch
from PIL import Image

from tasks.corruptions import CORRUPTIONS, EXTRA, NAMES, corrupt
from tests.perf.photos import photo_folder
from tests.perf.registry import Row, Setting, benchmark, seconds

SIDE = 224


def photos(count: int) -> np.ndarray:
    """Centre crops of photos: uint8 (count, 224, 224, 3)."""
    files = sorted(photo_folder(count).glob("train/*/*.jpg"))[:count]
    left, top = (500 - SIDE) // 2, (375 - SIDE) // 2
    return np.stack([np.asarray(Image.open(file).crop((left, top, left + SIDE, top + SIDE))) for file in files])


def prepare() -> None:
    """One core for each worker, as for each of our threads."""
    import cv2

    cv2.setNumThreads(1)


def published(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    from imagecorruptions import corrupt as corrupt_one

    with np.errstate(all="ignore"):
        found: np.ndarray = corrupt_one(image, severity=severity, corruption_name=name)
    return found


def both(setting: Setting, pool: Pool, images: np.ndarray, name: str) -> tuple[float, float]:
    """Seconds for the five severities of all images: ours, and theirs; one severity after the other, in turn."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(setting.device)
    ids = [f"{index}.jpg" for index in range(len(images))]
    for severity in (1, 2, 3, 4, 5):  # tables, compilation and pictures are made once and are nobody's time
        corrupt(x[:2], name, severity, ids[:2])
    pool.map(partial(published, name=name, severity=1), images[: 2 * torch.get_num_threads()], chunksize=1)
    ours = theirs = 0.0
    for severity in (1, 2, 3, 4, 5):
        ours += seconds(partial(corrupt, x, name, severity, ids), setting)[0]
        theirs += seconds(partial(pool.map, partial(published, name=name, severity=severity), images, 4), setting)[0]
    return ours, theirs


@benchmark("corruptions")
def corruptions(setting: Setting) -> Iterator[Row]:
    """Fifteen corruptions at five severities; the published operators run in as many processes as we have threads."""
    images = photos(8 if setting.quick else 64)
    took: dict[str, tuple[float, float]] = {}
    with multiprocessing.get_context("spawn").Pool(torch.get_num_threads(), prepare) as pool:
        for name in CORRUPTIONS:
            took[name] = both(setting, pool, images, name)
    ours, theirs = (sum(took[name][side] for name in NAMES) for side in (0, 1))
    ratios = {name: took[name][1] / took[name][0] for name in took}
    shape = f"{len(images)} photos of {SIDE} x {SIDE}, 5 severities each"
    yield Row.faster(
        "75 corruptions / imagecorruptions", ours, theirs, 5.0, shape=shape, **{n: ratios[n] for n in NAMES}
    )
    extra = [sum(took[name][side] for name in EXTRA) for side in (0, 1)]
    rest = {name: ratios[name] for name in EXTRA}
    yield Row.faster("the extra four / imagecorruptions", extra[0], extra[1], 1.0, shape=shape, **rest)
