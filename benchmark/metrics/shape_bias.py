"""The `shape-bias` scorer: what decides on images whose shape and texture are of different classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns, intervals
from benchmark.metrics.estimate import Estimate, share
from benchmark.metrics.names import with_variant

VERSION = 1


def shape_bias_table(
    ids: pa.Array, shape: np.ndarray, texture: np.ndarray, predictions: np.ndarray, names: Sequence[str]
) -> pa.Table:
    """A row per image.

    Args:
        ids: (N,) Arrow strings.
        shape: (N,) the category of its shape.
        texture: (N,) the category of its texture.
        predictions: (N,) the category that was decided for.
        names: of the categories.
    """
    n = len(shape)
    table = {
        "variant": pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([""], pa.string())),
        "draw": pa.array(np.zeros(n, np.int32)),
        "sample": pa.concat_arrays(ids.chunks).cast(pa.string()) if isinstance(ids, pa.ChunkedArray) else ids,
        "shape": pa.array([names[k] for k in shape], pa.string()).dictionary_encode(),
        "texture": pa.array([names[k] for k in texture], pa.string()).dictionary_encode(),
        "prediction": pa.array([names[k] for k in predictions], pa.string()).dictionary_encode(),
    }
    return columns.stamp(pa.table(table), "shape-bias", len(names))


def estimates(table: pa.Table) -> list[Estimate]:
    """`shape_bias` over all images and of each category of shape, `top1@shape` and `top1@texture`.

    Shape bias is correct-shape / (correct-shape + correct-texture), in percent, over images whose shape and texture
    are of different categories (Geirhos et al., ICLR 2019).

    Raises:
        ResultError: no image whose cues conflict.
    """
    _, _, tables = columns.by_draw(table)
    if len(tables) != 1:
        raise columns.malformed("one draw", f"{len(tables)}")
    rows = tables[0]
    shape, texture, decided = (
        columns.column(rows, name).cast(pa.string()).to_numpy(zero_copy_only=False)
        for name in ("shape", "texture", "prediction")
    )
    ids = columns.column(rows, "sample").cast(pa.string()).to_numpy(zero_copy_only=False)
    conflict = shape != texture
    if not conflict.any():
        raise columns.malformed("images whose shape and texture differ in category", "none")
    ids, shape, texture, decided = (values[conflict] for values in (ids, shape, texture, decided))
    categories, strata = np.unique(shape, return_inverse=True)
    by_shape, by_texture = 100.0 * (decided == shape), 100.0 * (decided == texture)
    found = [share("top1@shape", ids, strata, by_shape > 0), share("top1@texture", ids, strata, by_texture > 0)]
    if not (by_shape.any() or by_texture.any()):
        return found  # decided for neither, ever: the ratio has no meaning
    found.insert(0, _ratio("shape_bias", ids, strata, by_shape, by_texture))
    for k, category in enumerate(categories):
        of = strata == k
        if by_shape[of].any() or by_texture[of].any():
            name = with_variant("shape_bias", str(category))
            found.append(_ratio(name, ids[of], strata[of], by_shape[of], by_texture[of]))
    return found


def _ratio(name: str, ids: np.ndarray, strata: np.ndarray, by_shape: np.ndarray, by_texture: np.ndarray) -> Estimate:
    """A ratio of counts over the images decided for one of the two cues, with Wilson's interval over those."""
    either = by_shape + by_texture
    decided = int((either > 0).sum())
    value = 100.0 * by_shape.sum() / either.sum()
    low, high = intervals.wilson(value / 100.0, decided)
    return Estimate(
        name=name,
        value=float(value),
        interval=lambda: (100.0 * float(low), 100.0 * float(high)),
        units=ids,
        strata=strata,
        contributions=np.stack([by_shape, either / 100.0], axis=1),
        folds=1,
        ratios=True,
    )
