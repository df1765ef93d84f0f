"""`parquet:GLOB`: images and labels in Parquet files, as Hugging Face writes them."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import Field

from benchmark.data.assemble import assemble
from benchmark.data.dataset import Dataset, Split
from benchmark.data.fingerprint import Stamps, combine, of_files, of_labels
from benchmark.data.images import decode
from benchmark.data.labels import read_labels
from benchmark.data.options import Options
from benchmark.data.partition import Rows, held_out
from benchmark.data.shards import Shards, find_splits
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError, nearest

SUFFIXES = (".parquet",)
LABEL_NAMES = ("label", "labels", "target", "class")
PIECES = 64  # places sampled per file for the fingerprint


class ParquetOptions(Options):
    """Options of `parquet:`.

    Attributes:
        train, val, test: patterns of the files of each split (otherwise file names tell: `train-*.parquet`).
        image: column of bytes, or of structs with `bytes` (the only such column).
        label: column of integers, names, or lists of either (`label`, `labels`, `target` or `class`).
        id: column of unique strings (otherwise `file:row`).
        split: the fraction of the rows to report on, where the files are one split.
        seed: of that draw.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None
    image: str | None = None
    label: str | None = None
    id: str | None = None
    split: float | None = Field(None, gt=0, lt=1)
    seed: int = Field(0, ge=0)


def _open(path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError("a Parquet file", f"{path}: {error}", "replace it (truncated or of another format)") from None


def _data_of(cell: Any) -> bytes | None:
    """The encoded image in a cell: the cell itself or the `bytes` of a struct."""
    value = cell.as_py()
    return value.get("bytes") if isinstance(value, dict) else value


@dataclass
class ParquetReader:
    """Images by row, through the row group that holds it; the last group stays in memory.

    Attributes:
        root: folder that `files` are relative to.
        files: of the split, in order.
        column: of the image.
        groups: for each row group its file's index and its index there.
        ends: (G,) rows up to and including each group.
    """

    root: str
    files: tuple[str, ...]
    column: str
    groups: tuple[tuple[int, int], ...]
    ends: tuple[int, ...]
    _held: tuple[int, pa.ChunkedArray] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def read(self, index: int) -> Image.Image:
        """Image `index` as RGB."""
        group = bisect_right(self.ends, index)
        file, within = self.groups[group]
        if self._held is None or self._held[0] != group:
            table = _open(f"{self.root}/{self.files[file]}").read_row_group(within, columns=[self.column])
            self._held = (group, table.column(self.column))
        row = index - (self.ends[group - 1] if group else 0)
        data = _data_of(self._held[1][row])
        name = f"row {row} of row group {within} of {self.files[file]}"
        if data is None:
            raise DataError("image bytes in every row", f"none in {name}", "write the file with the images embedded")
        return decode(data, name)


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _column(schema: pa.Schema, asked: str | None, candidates: list[str], what: str, where: str) -> str:
    if asked is not None:
        if asked not in schema.names:
            raise DataError(
                f"the {what} column {asked!r}", f"columns {schema.names} in {where}", nearest(asked, schema.names)
            )
        return asked
    if len(candidates) != 1:
        found = f"{candidates or 'none'} among the columns {schema.names} of {where}"
        raise DataError(f"one {what} column", found, f"name it with ?{what}=COLUMN")
    return candidates[0]


def class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """The names that Hugging Face's metadata give the label column, or None."""
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return None
    feature = json.loads(raw).get("info", {}).get("features", {}).get(label, {})
    if isinstance(feature, list):  # a list of labels was written as [feature] once
        feature = feature[0] if feature else {}
    for part in (feature, feature.get("feature", {})):
        if isinstance(part, dict) and part.get("_type") == "ClassLabel" and part.get("names"):
            return [str(name) for name in part["names"]]
    return None


@dataclass(frozen=True)
class _Part:
    reader: ParquetReader
    ids: pa.Array
    labels: pa.ChunkedArray
    stamps: Stamps
    schema: pa.Schema


def _scan(shards: Shards, split: str, options: ParquetOptions) -> _Part:
    """Reads everything but the images of a split."""
    files = shards.splits[split]
    groups: list[tuple[int, int]] = []
    rows: list[int] = []
    ids: list[str] = []
    tables: list[pa.Table] = []
    schema: pa.Schema | None = None
    image = label = ""
    for number, name in enumerate(files):
        file = _open(f"{shards.root}/{name}")
        if schema is None:
            schema = file.schema_arrow
            images = [f.name for f in schema if _is_image(f.type)]
            image = _column(schema, options.image, images, "image", name)
            label = _column(schema, options.label, [n for n in schema.names if n in LABEL_NAMES], "label", name)
            if not _is_image(schema.field(image).type):
                raise DataError(
                    "image bytes", f"{schema.field(image).type} in column {image!r} of {name}", "name another column"
                )
            if options.id is not None:
                _column(schema, options.id, [], "id", name)
        wanted = {column: schema.field(column).type for column in (image, label, options.id) if column is not None}
        for column, kind in wanted.items():
            at = file.schema_arrow.get_field_index(column)
            if at < 0 or file.schema_arrow.field(at).type != kind:
                found = f"{file.schema_arrow.field(at).type if at >= 0 else 'no such column'} in {name}"
                raise DataError(f"column {column!r} of type {kind} as in {files[0]}", found, "write the files alike")
        table = file.read(columns=[label] if options.id is None else list(dict.fromkeys([label, options.id])))
        tables.append(table)
        if options.id is None:
            ids += [f"{name}:{row}" for row in range(table.num_rows)]
        for group in range(file.num_row_groups):
            groups.append((number, group))
            rows.append(file.metadata.row_group(group).num_rows)
    assert schema is not None  # a split has at least one file
    whole = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    named = pa.array(ids, pa.string()) if options.id is None else _ids(whole.column(options.id))
    stamps = Stamps.of([f"{shards.root}/{name}" for name in files])
    reader = ParquetReader(shards.root, files, image, tuple(groups), tuple(accumulate(rows)))
    return _Part(reader, named, whole.column(label), stamps, schema)


def _ids(column: pa.ChunkedArray) -> pa.Array:
    strings = column.cast(pa.string())
    return pa.concat_arrays(strings.chunks) if strings.num_chunks else pa.array([], pa.string())


def open_parquet(name: str, spec: SourceSpec, options: ParquetOptions) -> Dataset:
    """The images in Parquet files.

    Raises:
        DataError: no files, files that differ in their columns, or labels that are not what they should be.
    """
    asked = {"train": options.train, "val": options.val, "test": options.test}
    shards = find_splits(spec.rest, asked, SUFFIXES, spec.text, whole=options.split is not None)
    if options.split is not None and set(shards.splits) != {"train"}:
        raise DataError("split= only where nothing but train is there", spec.text, "leave split= away")
    parts = {split: _scan(shards, split, options) for split in shards.splits}
    first = next(iter(parts.values()))
    label = options.label or next(column for column in first.schema.names if column in LABEL_NAMES)
    labels = read_labels(
        {split: part.labels for split, part in parts.items()}, class_names(first.schema, label), spec.text
    )
    splits: dict[str, Split] = {}
    for split, part in parts.items():
        targets = labels.targets[split]
        fingerprint, state = of_files(shards.root, pa.array(shards.splits[split]), part.stamps, PIECES)
        cuts = {split: np.arange(len(part.ids))}
        if options.split is not None:
            out = held_out(part.ids, targets, options.split, options.seed, spec.text)
            cuts = {"train": np.flatnonzero(~out), "test": np.flatnonzero(out)}
        for cut, rows in cuts.items():
            ids = part.ids.take(pa.array(rows))
            reader = part.reader if len(rows) == len(part.ids) else Rows(part.reader, rows)
            what = of_labels(ids, targets[rows])
            splits[cut] = Split(cut, ids, targets[rows], reader, combine([what, fingerprint]), combine([what, state]))
    return assemble(name, spec.text, labels.classes, splits, multilabel=labels.multilabel)


SOURCE = Source("parquet:GLOB", "Parquet files with an image and a label column", ParquetOptions, open_parquet)
