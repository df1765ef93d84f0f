"""The scorers `corruptions` and `imagenet-c`: errors at five severities of fifteen corruptions, beside clean images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns, intervals
from benchmark.metrics.estimate import Estimate, share
from benchmark.metrics.names import split_name, with_variant

VERSION = 1
SEVERITIES = 5
GROUPS: Mapping[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The fifteen corruptions of ImageNet-C as its paper groups them (Hendrycks and Dietterich, ICLR 2019, figure 1)."""
FIFTEEN: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
EXTRA: tuple[str, ...] = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The paper's four for validation; they enter no mean over the fifteen."""
ALEXNET: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""AlexNet's mean error over the five severities of each corruption of ImageNet-C (the authors' table)."""
ALEXNET_CLEAN = 0.43478
"""Its error on clean images: torchvision's `alexnet-owt`, the weights behind that table, have a top-1 of 56.522."""

MEAN = "mean"
"""What `by_severity` calls the mean over the fifteen."""
_RANGES = {
    "error": (0.0, 100.0),
    "mean_error": (0.0, 100.0),
    "mean_drop": (-100.0, 100.0),
    "mCE": (0.0, np.inf),
    "relative_mCE": (-np.inf, np.inf),
}


class Severities(NamedTuple):
    """Errors in percent, each (5,), with the limits of their 95% intervals."""

    error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def corruptions_table(
    ids: pa.Array,
    targets: np.ndarray,
    clean: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    classes: int,
    scorer: str = "corruptions",
) -> pa.Table:
    """A row per image.

    Args:
        ids: (N,) Arrow strings.
        targets: (N,) integers.
        clean: (N,) the best class of the image as it is.
        predictions: corruption -> (N, 5) the best class at each severity; all fifteen, and the extra four or none.
        classes: C.
        scorer: `corruptions`, or `imagenet-c` for the published files.
    """
    n = len(targets)
    table = {
        "variant": pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([""], pa.string())),
        "draw": pa.array(np.zeros(n, np.int32)),
        "sample": pa.concat_arrays(ids.chunks).cast(pa.string()) if isinstance(ids, pa.ChunkedArray) else ids,
        "target": pa.array(targets.astype(np.int32)),
        "clean": pa.array(clean.astype(np.int32)),
    }
    for name, found in predictions.items():
        flat = pa.array(np.ascontiguousarray(found, dtype=np.int32).ravel())
        table[name] = pa.FixedSizeListArray.from_arrays(flat, SEVERITIES)
    return columns.stamp(pa.table(table), scorer, classes)


def estimates(table: pa.Table) -> list[Estimate]:
    """`top1` of the clean images; `mean_error`, `mean_drop`, and `error` of each corruption and group.

    Raises:
        ResultError: a corruption is missing (a mean over fewer would be another figure), or classes that are none.
    """
    ids, targets, hit, wrong = _read(table)
    errors = {name: _percent(values) for name, values in wrong.items()}
    fifteen = np.stack([errors[name] for name in FIFTEEN], axis=1).mean(axis=1)
    figures = {"mean_error": fifteen, "mean_drop": fifteen - (100.0 - hit)}
    for group, names in GROUPS.items():
        figures[with_variant("error", group)] = np.stack([errors[name] for name in names], axis=1).mean(axis=1)
    figures |= {with_variant("error", name): values for name, values in errors.items()}
    return [
        share("top1", ids, targets, hit > 0),
        *(_mean(name, ids, targets, values) for name, values in figures.items()),
    ]


def published_estimates(table: pa.Table) -> list[Estimate]:
    """`mCE` and `relative_mCE`, which only the published files of ImageNet-C have, before the figures of `estimates`.

    CE of a corruption is sum_s E(s) / sum_s E_AlexNet(s), relative CE sum_s (E(s) - E_clean) / sum_s (E_AlexNet(s) -
    E_AlexNet_clean); the means are over the fifteen (Hendrycks and Dietterich, ICLR 2019, section 4.1).

    Raises:
        ResultError: as `estimates`; or another number of classes than ImageNet's thousand, which AlexNet told apart.
    """
    classes = columns.facts_of(table)["classes"]
    if classes != 1000:
        raise columns.malformed("the 1,000 classes of ImageNet", f"{classes}")
    ids, targets, hit, wrong = _read(table)
    errors = {name: _percent(values) for name, values in wrong.items()}
    over = {name: errors[name] / ALEXNET[name] for name in FIFTEEN}
    above = {name: (errors[name] - (100.0 - hit)) / (ALEXNET[name] - ALEXNET_CLEAN) for name in FIFTEEN}
    found = [
        _mean(name, ids, targets, np.stack(list(parts.values()), axis=1).mean(axis=1))
        for name, parts in (("mCE", over), ("relative_mCE", above))
    ]
    found += [_mean(with_variant("mCE", name), ids, targets, values) for name, values in over.items()]
    return found + estimates(table)


def by_severity(table: pa.Table) -> dict[str, Severities]:
    """Errors at each severity: of every corruption, and of the fifteen together under `MEAN`.

    Raises:
        ResultError: as `estimates`.
    """
    _, _, _, wrong = _read(table)
    together = np.stack([wrong[name] for name in FIFTEEN], axis=2)
    found = {name: _severities(values[:, :, None]) for name, values in wrong.items()}
    return {**found, MEAN: _severities(together)}


def _severities(wrong: np.ndarray) -> Severities:
    """Of (N, 5, K) answers to images under K corruptions each."""
    per_image = wrong.mean(axis=2)
    limits = [intervals.of_proportion(values, wrong.shape[2]) for values in per_image.T]
    low, high = 100.0 * np.array(limits).T
    return Severities(100.0 * per_image.mean(axis=0), low, high)


def _read(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Ids in ascending order (N,), targets (N,), 0 or 100 for the clean image (N,), and for each corruption where the
    answer is wrong (N, 5).
    """
    classes = columns.facts_of(table)["classes"]
    given = [name for name in table.column_names if name in (*FIFTEEN, *EXTRA)]
    missing = [name for name in FIFTEEN if name not in given]
    extra = [name for name in EXTRA if name in given]
    if missing or extra not in ([], list(EXTRA)):
        lacking = missing or [name for name in EXTRA if name not in given]
        raise columns.malformed("all fifteen corruptions, and the extra four or none", f"none of {', '.join(lacking)}")
    ids, _, tables = columns.by_draw(table)
    if len(tables) != 1:
        raise columns.malformed("one draw", f"{len(tables)}")
    rows = tables[0]
    targets = columns.integers(rows, "target", classes)
    hit = 100.0 * (columns.integers(rows, "clean", classes) == targets)
    return ids, targets, hit, {name: _wrong(rows, name, targets, classes) for name in given}


def _wrong(rows: pa.Table, name: str, targets: np.ndarray, classes: int) -> np.ndarray:
    found = columns.matrix(rows, name)
    if found.shape[1] != SEVERITIES or not np.issubdtype(found.dtype, np.integer):
        raise columns.malformed(f"{SEVERITIES} classes per image in {name!r}", f"{found.shape[1]} {found.dtype}")
    columns.check_range(found.astype(np.int64), name, classes)
    wrong: np.ndarray = found != targets[:, None]
    return wrong


def _percent(wrong: np.ndarray) -> np.ndarray:
    """(N,) percent of the severities at which each image is classified wrongly."""
    return np.asarray(100.0 * wrong.mean(axis=1))


def _mean(name: str, ids: np.ndarray, targets: np.ndarray, values: np.ndarray) -> Estimate:
    def interval() -> tuple[float, float]:
        low, high = intervals.of_mean(values)
        base, _ = split_name(name)
        least, most = _RANGES[base]
        return max(least, low), min(most, high)

    return Estimate(
        name=name,
        value=float(values.mean()),
        interval=interval,
        units=ids,
        strata=targets,
        contributions=values[:, None],
    )
