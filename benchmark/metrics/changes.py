"""The `changes` scorer: accuracy along curves of ever stronger changes, beside that on images as they are.

The levels of each kind of change are stamped into the table, so that figures and curves come from it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns, intervals
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import with_variant

VERSION = 1
CHANGED = "changed"
"""The variant of the mean over all kinds of change."""
_COLUMNS = ("variant", "draw", "sample", "target", "clean", "histogram", "residual", "total")


@dataclass(frozen=True)
class Kind:
    """One way of changing images.

    Attributes:
        levels: how much, in the order of the columns; numbers, each once.
        axis: what the numbers say, with their unit.
        clean: the level at which nothing is changed; None where there is none.
    """

    levels: tuple[float, ...]
    axis: str
    clean: float | None = None


class Curve(NamedTuple):
    """Accuracy by level, in percent: all (L,), levels ascending, with the images as they are where they have a level.

    `low` and `high` are the limits of the 95% interval at each level.
    """

    levels: np.ndarray
    top1: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Histogram:
    """What a probe of colour histograms said of N images.

    Attributes:
        predicted: (N,) the best class by the image's histogram alone.
        residual: (N,) squared distance of the histogram from what the features say it is.
        total: (N,) squared distance of the histogram from the mean one.
    """

    predicted: np.ndarray
    residual: np.ndarray
    total: np.ndarray


def changes_table(
    ids: pa.Array,
    targets: np.ndarray,
    clean: np.ndarray,
    kinds: Mapping[str, Kind],
    predictions: Mapping[str, np.ndarray],
    classes: int,
    histogram: Histogram | None = None,
) -> pa.Table:
    """A row per image.

    Args:
        ids: (N,) Arrow strings.
        targets: (N,) integers.
        clean: (N,) the best class of the image as it is.
        kinds: by name.
        predictions: kind -> (N, L) the best class at each of its levels.
        classes: C.
        histogram: of the same images, or None.
    """
    n = len(targets)
    table = {
        "variant": pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([""], pa.string())),
        "draw": pa.array(np.zeros(n, np.int32)),
        "sample": pa.concat_arrays(ids.chunks).cast(pa.string()) if isinstance(ids, pa.ChunkedArray) else ids,
        "target": pa.array(targets.astype(np.int32)),
        "clean": pa.array(clean.astype(np.int32)),
    }
    for name, kind in kinds.items():
        found = np.ascontiguousarray(predictions[name], dtype=np.int32)
        if found.shape != (n, len(kind.levels)):
            raise ValueError(f"{name}: predictions of {(n, len(kind.levels))}, not {found.shape}")
        table[name] = pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), len(kind.levels))
    if histogram is not None:
        table["histogram"] = pa.array(histogram.predicted.astype(np.int32))
        table["residual"] = pa.array(histogram.residual.astype(np.float64))
        table["total"] = pa.array(histogram.total.astype(np.float64))
    facts = {name: asdict(kind) for name, kind in kinds.items()}
    return columns.stamp(pa.table(table), "changes", classes, changes=facts)


def estimates(table: pa.Table) -> list[Estimate]:
    """The figures of a `changes` table.

    `top1` of images as they are; `top1@changed`, the mean over kinds of the means over their levels, and `mean_drop`,
    how far that is below `top1`; for each kind the mean over its levels (`top1@hue`), how far it is below `top1`
    (`mean_drop@hue`) and, of several levels, each (`top1@hue-60`). With a histogram `top1@histogram`, and
    `r2@histogram`: 1 - sum of `residual` / sum of `total`.

    Raises:
        ResultError: kinds and columns that do not fit each other, or classes that are none.
    """
    kinds, rows, ids, targets, clean, hits = _read(table)
    found = [_share("top1", ids, targets, clean)]
    overall = np.stack([hit.mean(axis=1) for hit in hits.values()], axis=1).mean(axis=1)
    levels = sum(len(kind.levels) for kind in kinds.values())
    found.append(_share(with_variant("top1", CHANGED), ids, targets, overall, levels))
    found.append(_drop("mean_drop", ids, targets, clean - overall))
    for name, hit in hits.items():
        mean, several = hit.mean(axis=1), hit.shape[1]
        found.append(_share(with_variant("top1", name), ids, targets, mean, several))
        found.append(_drop(with_variant("mean_drop", name), ids, targets, clean - mean))
        if several > 1:
            labels = [with_variant("top1", f"{name}-{level:g}") for level in kinds[name].levels]
            found += [_share(label, ids, targets, hit[:, place]) for place, label in enumerate(labels)]
    if "histogram" in rows.column_names:
        found += _of_histogram(rows, ids, targets, columns.facts_of(table)["classes"])
    return found


def curves(table: pa.Table) -> dict[str, Curve]:
    """Accuracy by level for each kind of change, kinds in the order of the table.

    Raises:
        ResultError: as for `estimates`.
    """
    kinds, _, _, _, clean, hits = _read(table)
    found = {}
    for name, hit in hits.items():
        levels = np.array(kinds[name].levels, dtype=np.float64)
        unchanged = kinds[name].clean
        if unchanged is not None and unchanged not in levels:
            levels, hit = np.append(levels, unchanged), np.column_stack([hit, clean])
        order = np.argsort(levels)
        share = hit.mean(axis=0)[order]
        low, high = intervals.wilson(share, len(hit))
        found[name] = Curve(levels[order], 100 * share, 100 * low, 100 * high)
    return found


def kinds_of(table: pa.Table) -> dict[str, Kind]:
    """The kinds of change of a table, in the order of its columns.

    Raises:
        ResultError: none is stamped, or what is stamped is malformed or lacks its column.
    """
    facts = columns.facts_of(table).get("changes")
    if not isinstance(facts, dict) or not facts:
        raise columns.malformed("the levels of each kind of change in the schema metadata", "none")
    for name, fact in facts.items():
        if not (isinstance(fact, dict) and set(fact) == {"levels", "axis", "clean"} and _levels_fit(fact["levels"])):
            raise columns.malformed(f"levels, axis and clean level of {name!r}", repr(fact)[:80])
    given = [name for name in table.column_names if name not in _COLUMNS]
    if set(given) != set(facts):
        raise columns.malformed(f"a column for each of {', '.join(sorted(facts))}", f"{', '.join(given) or 'none'}")
    return {name: Kind(tuple(facts[name]["levels"]), facts[name]["axis"], facts[name]["clean"]) for name in given}


def _levels_fit(levels: object) -> bool:
    if not isinstance(levels, list) or not levels or len(set(map(str, levels))) < len(levels):
        return False
    return all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels)


def _read(
    table: pa.Table,
) -> tuple[dict[str, Kind], pa.Table, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Kinds, rows, ids (N,), targets (N,), hits of clean images (N,), hits by kind (N, L): 0.0 or 1.0."""
    classes, kinds = columns.facts_of(table)["classes"], kinds_of(table)
    if not table.num_rows:
        raise columns.malformed("rows", "none")
    ids, _, tables = columns.by_draw(table)
    if len(tables) != 1:
        raise columns.malformed("one draw", f"{len(tables)}")
    rows = tables[0]
    targets = columns.integers(rows, "target", classes)
    clean = (columns.integers(rows, "clean", classes) == targets).astype(np.float64)
    hits = {}
    for name, kind in kinds.items():
        found = columns.matrix(rows, name)
        if found.shape[1] != len(kind.levels) or not np.issubdtype(found.dtype, np.integer):
            raise columns.malformed(
                f"{len(kind.levels)} classes per image in {name!r}", f"{found.shape[1:]} {found.dtype}"
            )
        columns.check_range(found.astype(np.int64), name, classes)
        hits[name] = (found == targets[:, None]).astype(np.float64)
    return kinds, rows, ids, targets, clean, hits


def _share(name: str, ids: np.ndarray, targets: np.ndarray, per_image: np.ndarray, levels: int = 1) -> Estimate:
    """A share of hits, (N,) in [0, 1], each the mean over `levels` of 0 or 1."""

    def interval() -> tuple[float, float]:
        low, high = intervals.of_proportion(per_image, levels)
        return 100 * low, 100 * high

    return Estimate(
        name=name,
        value=float(100 * per_image.mean()),
        interval=interval,
        units=ids,
        strata=targets,
        contributions=100 * per_image[:, None],
        binary=levels == 1,
    )


def _drop(name: str, ids: np.ndarray, targets: np.ndarray, per_image: np.ndarray) -> Estimate:
    """A mean of differences of hits, (N,) in [-1, 1]."""

    def interval() -> tuple[float, float]:
        low, high = intervals.of_mean(100 * per_image)
        return max(-100.0, low), min(100.0, high)

    return Estimate(
        name=name,
        value=float(100 * per_image.mean()),
        interval=interval,
        units=ids,
        strata=targets,
        contributions=100 * per_image[:, None],
    )


def _of_histogram(rows: pa.Table, ids: np.ndarray, targets: np.ndarray, classes: int) -> list[Estimate]:
    hit = (columns.integers(rows, "histogram", classes) == targets).astype(np.float64)
    pair = [columns.optional_floats(rows, name) for name in ("residual", "total")]
    residual, total = (np.full(1, -1.0) if part is None else part for part in pair)
    if min(residual.min(), total.min()) < 0 or total.sum() == 0:
        raise columns.malformed("squared distances in 'residual' and 'total', not all 0 in 'total'", "others")
    value = float(100 * (1 - residual.sum() / total.sum()))
    both = np.column_stack([100 * (total - residual), total])
    explained = Estimate(
        name=with_variant("r2", "histogram"),
        value=value,
        interval=lambda: intervals.of_ratios(both, value, explained.combine),
        units=ids,
        strata=targets,
        contributions=both,
        folds=1,
        ratios=True,
    )
    return [_share(with_variant("top1", "histogram"), ids, targets, hit), explained]
