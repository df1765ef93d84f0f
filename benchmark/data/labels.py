"""Labels as data sets write them (integers, names, lists of either) to class indices or indicators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.errors import DataError

Targets = NDArray[np.int64] | NDArray[np.uint8]


@dataclass(frozen=True)
class Labels:
    """What a label column says.

    Attributes:
        classes: class names.
        targets: by split, (N,) int64 or, multi-label, (N, C) uint8.
        multilabel: which of the two.
    """

    classes: tuple[str, ...]
    targets: Mapping[str, Targets]
    multilabel: bool


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combining no chunks at all gives a chunked array still
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _no_gaps(values: pa.Array, where: str) -> None:
    """Refuses missing labels (null, NaN, empty names) by the first row that has one."""
    missing = pc.is_null(values, nan_is_null=True)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        missing = pc.or_(missing, pc.fill_null(pc.equal(pc.utf8_trim_whitespace(values), ""), True))
    rows = np.flatnonzero(missing.to_numpy(zero_copy_only=False))
    if len(rows):
        found = f"none for row {rows[0]} of {where} ({len(rows)} rows without)"
        raise DataError("a label for every image", found, "label them or remove them")


def _scalars(values: pa.Array, where: str) -> pa.Array:
    """Labels as int64 or as strings."""
    _no_gaps(values, where)
    kind = values.type
    if pa.types.is_boolean(kind):
        return pc.cast(values, pa.string())
    if pa.types.is_integer(kind):
        return pc.cast(values, pa.int64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.cast(values, pa.string())
    raise DataError(
        "labels that are integers, names or lists of them", f"{kind} in {where}", "name another column with label="
    )


def _in_range(values: pa.Array, names: Sequence[str], where: str) -> NDArray[np.int64]:
    indices = values.to_numpy().astype(np.int64)
    bad = np.flatnonzero((indices < 0) | (indices >= len(names)))
    if len(bad):
        meaning = " (which marks an unlabelled split)" if indices[bad[0]] == -1 else ""
        found = f"{indices[bad[0]]}{meaning} in row {bad[0]} of {where}"
        raise DataError(f"labels between 0 and {len(names) - 1}", found, "correct it or name another split")
    return indices


def read_labels(columns: Mapping[str, pa.Array | pa.ChunkedArray], names: Sequence[str] | None, source: str) -> Labels:
    """Reads the label columns of all splits together, so that one class has one index.

    With `names`, integers are indices into them and strings must be among them. Without, the classes are the distinct
    values
    in order: integers by number, names by code point.

    Args:
        columns: by split, (N,) integers, strings, booleans, or lists of integers or strings (multi-label).
        names: class names where the data set brings them.
        source: for messages.

    Raises:
        DataError: a label that is missing, out of range, of another type, or splits that disagree on the type.
    """
    arrays = {split: _plain(column) for split, column in columns.items()}
    for split, array in arrays.items():
        if not len(array):
            raise DataError("images", f"none in {split} of {source!r}", "point at a split that has some")
    lists = {split for split, array in arrays.items() if _is_list(array.type)}
    multilabel = bool(lists)
    if lists and lists != set(arrays):
        found = ", ".join(f"{split}: {array.type}" for split, array in arrays.items()) + f" in {source!r}"
        raise DataError("labels of one type in every split", found, "correct the files")
    flat: dict[str, pa.Array] = {}
    for split, array in arrays.items():
        where = f"{split} of {source!r}"
        if multilabel:
            _no_gaps(array, where)
        flat[split] = _scalars(pc.list_flatten(array) if multilabel else array, where)
    if len({str(array.type) for array in flat.values() if len(array)}) > 1:
        found = ", ".join(f"{split}: {array.type}" for split, array in flat.items()) + f" in {source!r}"
        raise DataError("labels of one type in every split", found, "correct the files")
    distinct = sorted(set().union(*(pc.unique(array).to_pylist() for array in flat.values())))
    classes = tuple(names) if names is not None else tuple(str(value) for value in distinct)
    targets: dict[str, Targets] = {}
    for split, array in flat.items():
        where = f"{split} of {source!r}"
        if names is not None and pa.types.is_integer(array.type):
            indices = _in_range(array, names, where)
        else:
            known = pa.array(list(names) if names is not None else distinct, array.type)
            found_at = pc.index_in(array, known)
            if found_at.null_count:
                row = int(np.flatnonzero(pc.is_null(found_at).to_numpy(zero_copy_only=False))[0])
                raise DataError("labels among the class names", f"{array[row].as_py()!r} in {where}", "correct it")
            indices = found_at.to_numpy().astype(np.int64)
        if multilabel:
            hot = np.zeros((len(arrays[split]), len(classes)), np.uint8)
            hot[pc.list_parent_indices(arrays[split]).to_numpy(), indices] = 1
            targets[split] = hot
        else:
            targets[split] = indices
    return Labels(classes, targets, multilabel)
