"""The tables that scorers read: build them from arrays, and read them back checked and in a canonical order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.errors import ResultError

METADATA_KEY = b"transferbench"
_REDO = "delete the result and run the cell again"


def stamp(table: pa.Table, scorer: str, classes: int, **more: Any) -> pa.Table:
    """Writes into the schema what scoring needs beside the columns: the scorer's name, the number of classes, and more
    JSON-able facts where a scorer asks for them.
    """
    facts = json.dumps({"scorer": scorer, "classes": classes, **more}, sort_keys=True).encode()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA_KEY: facts})


def facts_of(table: pa.Table) -> dict[str, Any]:
    """The stamped facts: `scorer` and `classes`, with what more the scorer asked for.

    Raises:
        ResultError: the table carries none, or not these.
    """
    raw = (table.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise malformed("schema metadata that names the scorer and the class count", "none")
    try:
        facts = json.loads(raw)
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("scorer"), str) or not _is_count(facts.get("classes")):
        raise malformed("schema metadata with a scorer and a class count", repr(raw)[:80])
    return facts


def malformed(expected: str, found: str) -> ResultError:
    """The error of every scorer for a table that is not what it should be."""
    return ResultError(f"a table of predictions with {expected}", found, _REDO)


def classification_table(
    ids: pa.Array,
    targets: np.ndarray,
    ranked: np.ndarray,
    classes: int,
    variant: str = "",
    draw: int = 0,
    confidence: np.ndarray | None = None,
    log_prob: np.ndarray | None = None,
    scaled_confidence: np.ndarray | None = None,
    scaled_log_prob: np.ndarray | None = None,
) -> pa.Table:
    """Rows of one variant and draw for the `classification` scorer; join several with `join`.

    Args:
        ids: (N,) Arrow strings.
        targets: (N,) integers.
        ranked: (N, min(5, C)) classes, best first.
        classes: C.
        variant: the setting within the protocol, see the folder's docstring.
        draw: the number of the protocol's own random draw.
        confidence: (N,) largest probability, or None.
        log_prob: (N,) natural log of the target's probability, or None.
        scaled_confidence: (N,) `confidence` after temperature scaling, or None.
        scaled_log_prob: (N,) `log_prob` after temperature scaling, or None.
    """
    n, depth = ranked.shape
    columns = {
        **_labels(variant, n),
        "draw": pa.array(np.full(n, draw, dtype=np.int32)),
        "sample": _strings(ids),
        "target": pa.array(targets.astype(np.int32)),
        "prediction": pa.array(np.ascontiguousarray(ranked[:, 0], dtype=np.int32)),
        "top5": _lists(ranked.astype(np.int32), depth),
        "confidence": _floats(confidence, n),
        "log_prob": _floats(log_prob, n),
        "scaled_confidence": _floats(scaled_confidence, n),
        "scaled_log_prob": _floats(scaled_log_prob, n),
    }
    return stamp(pa.table(columns), "classification", classes)


def multilabel_table(
    ids: pa.Array, targets: np.ndarray, scores: np.ndarray, variant: str = "", draw: int = 0
) -> pa.Table:
    """Rows of one variant and draw for the `multilabel` scorer.

    Args:
        ids: (N,) Arrow strings.
        targets: (N, C) 0 or 1.
        scores: (N, C), higher is more likely.
        variant: the setting within the protocol, see the folder's docstring.
        draw: the number of the protocol's own random draw.
    """
    n, classes = scores.shape
    columns = {
        **_labels(variant, n),
        "draw": pa.array(np.full(n, draw, dtype=np.int32)),
        "sample": _strings(ids),
        "target": _lists(targets.astype(np.uint8), classes),
        "scores": _lists(scores.astype(np.float32), classes),
    }
    return stamp(pa.table(columns), "multilabel", classes)


def episodes_table(
    episode: np.ndarray, ids: pa.Array, targets: np.ndarray, predictions: np.ndarray, classes: int, variant: str
) -> pa.Table:
    """Rows of one variant for the `episodes` scorer: one per query, all (N,)."""
    columns = {
        **_labels(variant, len(episode)),
        "episode": pa.array(episode.astype(np.int32)),
        "sample": _strings(ids),
        "target": pa.array(targets.astype(np.int32)),
        "prediction": pa.array(predictions.astype(np.int32)),
    }
    return stamp(pa.table(columns), "episodes", classes)


def segmentation_table(
    ids: pa.Array,
    intersection: np.ndarray,
    predicted: np.ndarray,
    labelled: np.ndarray,
    variant: str = "",
    maps: Sequence[bytes | None] | None = None,
) -> pa.Table:
    """Rows of one variant for the `segmentation` scorer: pixels of each class in each image, all (N, C) integers.

    Args:
        ids: (N,) Arrow strings.
        intersection: pixels of the class that are predicted to be of it.
        predicted: pixels predicted to be of the class; ignored ones never count.
        labelled: pixels of the class.
        variant: the setting within the protocol, see the folder's docstring.
        maps: predicted label maps of some images as PNG, for people to look at; no figure depends on them.
    """
    n, classes = labelled.shape
    columns = {
        **_labels(variant, n),
        "draw": pa.array(np.zeros(n, dtype=np.int32)),
        "sample": _strings(ids),
        "intersection": _lists(intersection.astype(np.int32), classes),
        "predicted": _lists(predicted.astype(np.int32), classes),
        "labelled": _lists(labelled.astype(np.int32), classes),
        "map": pa.nulls(n, pa.binary()) if maps is None else pa.array(maps, pa.binary()),
    }
    return stamp(pa.table(columns), "segmentation", classes)


def join(tables: Sequence[pa.Table]) -> pa.Table:
    """One table from the tables of several variants and draws of one task."""
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def column(table: pa.Table, name: str) -> pa.Array:
    """A column without nulls.

    Raises:
        ResultError: it is missing or has nulls.
    """
    if name not in table.column_names:
        raise malformed(f"a column {name!r}", f"columns {table.column_names}")
    array = table.column(name).combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # an empty column has no chunk to combine
        array = pa.array([], type=array.type)
    if array.null_count:
        raise malformed(f"no nulls in {name!r}", f"{array.null_count} of {len(array)}")
    return array


def integers(table: pa.Table, name: str, below: int | None = None) -> np.ndarray:
    """A column as int64, checked to lie in [0, below) where `below` is given."""
    array = column(table, name)
    if not pa.types.is_integer(array.type):
        raise malformed(f"integers in {name!r}", str(array.type))
    values = array.to_numpy(zero_copy_only=False).astype(np.int64)
    check_range(values, name, below)
    return values


def check_range(values: np.ndarray, name: str, below: int | None) -> None:
    """Stops unless every value lies in [0, below)."""
    if below is not None and values.size and (values.min() < 0 or values.max() >= below):
        wrong = values[(values < 0) | (values >= below)].flat[0]
        raise malformed(f"{name!r} in [0, {below})", f"{wrong}")


def matrix(table: pa.Table, name: str) -> np.ndarray:
    """A fixed-size-list column as (N, width)."""
    array = column(table, name)
    if not pa.types.is_fixed_size_list(array.type):
        raise malformed(f"lists of one fixed size in {name!r}", str(array.type))
    flat = array.flatten()
    if flat.null_count:
        raise malformed(f"no nulls within {name!r}", f"{flat.null_count}")
    return flat.to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)


def optional_floats(table: pa.Table, name: str) -> np.ndarray | None:
    """A column of numbers as float64, or None where every row is null.

    Raises:
        ResultError: some rows are null and others not, or a number is not finite.
    """
    if name not in table.column_names:
        raise malformed(f"a column {name!r}", f"columns {table.column_names}")
    array = table.column(name)
    if array.null_count == len(array):
        return None
    if array.null_count:
        raise malformed(f"{name!r} for all samples of a variant or for none", f"{array.null_count} nulls")
    values = array.to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise malformed(f"finite numbers in {name!r}", f"{int((~np.isfinite(values)).sum())} that are not")
    return values


def by_variant(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each variant, variants in the order of their first appearance.

    Raises:
        ResultError: there are no rows.
    """
    if not table.num_rows:
        raise malformed("rows", "none")
    labels = column(table, "variant").cast(pa.string())
    for variant in pc.unique(labels).to_pylist():
        yield variant, table.filter(pc.equal(labels, variant))


def by_draw(table: pa.Table) -> tuple[np.ndarray, list[int], list[pa.Table]]:
    """One variant's rows as (ids, draws, a table per draw), samples in ascending order of id in every draw.

    Returns:
        ids (N,) as objects, the draw numbers in ascending order, and tables of N rows each.

    Raises:
        ResultError: a sample comes twice in a draw, or the draws do not share the same samples.
    """
    draw = integers(table, "draw")
    numbers = sorted(int(number) for number in np.unique(draw))
    first = pa.array([], type=pa.string())
    tables: list[pa.Table] = []
    for number in numbers:
        rows = table.filter(pa.array(draw == number))
        samples = column(rows, "sample").cast(pa.string())
        order = pc.sort_indices(samples)
        rows, samples = rows.take(order), samples.take(order)
        check_unique(samples, "sample")
        if tables and not samples.equals(first):
            raise malformed("the same samples in every draw", f"others in draw {number}")
        first = samples
        tables.append(rows)
    return first.to_numpy(zero_copy_only=False), numbers, tables


def check_unique(ascending: pa.Array, name: str) -> None:
    """Stops where a sorted array holds a value twice."""
    if len(ascending) > 1:
        same = pc.equal(ascending[1:], ascending[:-1])
        if pc.any(same).as_py():
            twice = ascending[1:].filter(same)[0].as_py()
            raise malformed(f"each {name} once per variant and draw", f"{twice!r} more than once")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _labels(variant: str, n: int) -> dict[str, pa.Array]:
    indices = pa.array(np.zeros(n, dtype=np.int32))
    return {"variant": pa.DictionaryArray.from_arrays(indices, pa.array([variant], type=pa.string()))}


def _strings(ids: pa.Array) -> pa.Array:
    flat = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    return flat.cast(pa.string())


def _lists(values: np.ndarray, width: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).ravel()), width)


def _floats(values: np.ndarray | None, n: int) -> pa.Array:
    return pa.nulls(n, pa.float32()) if values is None else pa.array(values.astype(np.float32))
