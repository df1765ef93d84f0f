"""The `shift` scorer: the classifier of a clean dataset on images from elsewhere, beside clean images of the same
classes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns
from benchmark.metrics.estimate import Estimate, share

VERSION = 1
DOMAINS = ("clean", "shifted")


def shift_table(domain: str, ids: pa.Array, accepted: np.ndarray, predictions: np.ndarray) -> pa.Table:
    """Rows of one domain, one per image; join both with `columns.join`.

    Args:
        domain: `clean` or `shifted`.
        ids: (N,) Arrow strings.
        accepted: (N, C) bool, the classes that count as right for each image; at least one.
        predictions: (N,) the best class among those that the shifted images can be of.
    """
    n, classes = accepted.shape
    rows, right = np.nonzero(accepted)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
    table = {
        "variant": pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([domain], pa.string())),
        "draw": pa.array(np.zeros(n, np.int32)),
        "sample": pa.concat_arrays(ids.chunks).cast(pa.string()) if isinstance(ids, pa.ChunkedArray) else ids,
        "accepted": pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(right.astype(np.int32))),
        "prediction": pa.array(predictions.astype(np.int32)),
    }
    return columns.stamp(pa.table(table), "shift", classes)


def estimates(table: pa.Table) -> list[Estimate]:
    """`top1` of the shifted images, `top1@clean` of clean ones of the same classes, and `drop`, their difference.

    Raises:
        ResultError: a domain is missing, or an image with nothing that counts as right.
    """
    classes = columns.facts_of(table)["classes"]
    parts = dict(columns.by_variant(table))
    if sorted(parts) != list(DOMAINS):
        raise columns.malformed("rows of clean and of shifted images", f"variants {sorted(parts)}")
    found = {domain: _hits(rows, classes) for domain, rows in parts.items()}
    clean, shifted = share("top1@clean", *found["clean"]), share("top1", *found["shifted"])
    return [shifted, clean, _drop(clean, shifted)]


def _hits(rows: pa.Table, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids in ascending order, the first class that counts as right, and whether each image is right."""
    ids, _, tables = columns.by_draw(rows)
    if len(tables) != 1:
        raise columns.malformed("one draw", f"{len(tables)}")
    right = columns.column(tables[0], "accepted")
    lengths = np.diff(right.offsets.to_numpy())
    flat = right.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    if not lengths.all():
        raise columns.malformed("a class that counts as right for every image", f"none for {int((lengths == 0).sum())}")
    columns.check_range(flat, "accepted", classes)
    predictions = columns.integers(tables[0], "prediction", classes)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    hit = np.zeros(len(lengths), bool)
    np.logical_or.at(hit, owner, flat == predictions[owner])
    return ids, flat[np.cumsum(lengths) - lengths], hit


def _drop(clean: Estimate, shifted: Estimate) -> Estimate:
    """Newcombe's interval for a difference of independent proportions (1998, method 10): from Wilson's of each."""
    value = clean.value - shifted.value
    (low, high), (least, most) = clean.interval(), shifted.interval()
    below = np.hypot(clean.value - low, most - shifted.value)
    above = np.hypot(high - clean.value, shifted.value - least)
    units = np.array([*(f"clean/{key}" for key in clean.units), *(f"shifted/{key}" for key in shifted.units)])
    total = len(units)
    influence = [
        sign * total / len(part.units) * (part.contributions[:, 0] - part.value)
        for sign, part in ((1, clean), (-1, shifted))
    ]
    order = np.argsort(units, kind="stable")
    return Estimate(
        name="drop",
        value=value,
        interval=lambda: (float(value - below), float(value + above)),
        units=units[order].astype(object),
        strata=np.concatenate([clean.strata, shifted.strata])[order],
        contributions=(value + np.concatenate(influence))[order][:, None],
    )
