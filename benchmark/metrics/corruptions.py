"""The `corruptions` scorer: errors on images at five severities of fifteen corruptions, beside the clean ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns, intervals
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import with_variant

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


def corruptions_table(
    ids: pa.Array, targets: np.ndarray, clean: np.ndarray, predictions: Mapping[str, np.ndarray], classes: int
) -> pa.Table:
    """A row per image.

    Args:
        ids: (N,) Arrow strings.
        targets: (N,) integers.
        clean: (N,) the best class of the image as it is.
        predictions: corruption -> (N, 5) the best class at each severity; all fifteen, and the extra four or none.
        classes: C.
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
    return columns.stamp(pa.table(table), "corruptions", classes)


def estimates(table: pa.Table) -> list[Estimate]:
    """`top1` of the clean images; `mean_error`, `mean_drop`, and `error` of each corruption and group.

    Raises:
        ResultError: a corruption is missing (a mean over fewer would be another figure), or classes that are none.
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
    errors = {name: _errors(rows, name, targets, classes) for name in given}
    fifteen = np.stack([errors[name] for name in FIFTEEN], axis=1).mean(axis=1)
    figures = {"mean_error": fifteen, "mean_drop": fifteen - (100.0 - hit)}
    for group, names in GROUPS.items():
        figures[with_variant("error", group)] = np.stack([errors[name] for name in names], axis=1).mean(axis=1)
    figures |= {with_variant("error", name): values for name, values in errors.items()}
    low, high = intervals.of_proportion(hit / 100.0)
    top1 = Estimate(
        name="top1",
        value=float(hit.mean()),
        interval=lambda: (100.0 * low, 100.0 * high),
        units=ids,
        strata=targets,
        contributions=hit[:, None],
        binary=True,
    )
    return [top1, *(_mean(name, ids, targets, values) for name, values in figures.items())]


def _errors(rows: pa.Table, name: str, targets: np.ndarray, classes: int) -> np.ndarray:
    """(N,) percent of the severities at which each image is classified wrongly."""
    found = columns.matrix(rows, name)
    if found.shape[1] != SEVERITIES or not np.issubdtype(found.dtype, np.integer):
        raise columns.malformed(f"{SEVERITIES} classes per image in {name!r}", f"{found.shape[1]} {found.dtype}")
    columns.check_range(found.astype(np.int64), name, classes)
    wrong: np.ndarray = 100.0 * (found != targets[:, None]).mean(axis=1)
    return wrong


def _mean(name: str, ids: np.ndarray, targets: np.ndarray, values: np.ndarray) -> Estimate:
    def interval() -> tuple[float, float]:
        low, high = intervals.of_mean(values)
        least = -100.0 if name == "mean_drop" else 0.0
        return max(least, low), min(100.0, high)

    return Estimate(
        name=name,
        value=float(values.mean()),
        interval=interval,
        units=ids,
        strata=targets,
        contributions=values[:, None],
    )
