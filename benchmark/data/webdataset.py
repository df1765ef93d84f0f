"""`wds:GLOB`: WebDataset tar shards, read at random through an index of their members."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from benchmark.data.assemble import assemble
from benchmark.data.dataset import Dataset, Split
from benchmark.data.fingerprint import Stamps, combine, of_array, of_files, of_labels
from benchmark.data.images import decode
from benchmark.data.labels import read_labels
from benchmark.data.options import Options
from benchmark.data.partition import Rows, held_out
from benchmark.data.shards import find_splits
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError

SUFFIXES = (".tar",)
IMAGES = ("jpg", "jpeg", "png", "webp", "ppm", "bmp", "gif", "tif", "tiff")
LABELS = ("cls", "json", "txt")
PIECES = 64  # places sampled per shard for the fingerprint


class WebDatasetOptions(Options):
    """Options of `wds:`.

    Attributes:
        train, val, test: patterns of the shards of each split (otherwise their names tell: `train-000.tar`).
        image: extension of the image (`jpg`, `png`, ... whichever a sample has).
        label: extension of the label (`cls`, then `json`, then `txt`).
        key: where a JSON label holds the class.
        split: the fraction of the samples to report on, where the shards are one split.
        seed: of that draw.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None
    image: str | None = None
    label: str | None = None
    key: str = "label"
    split: float | None = Field(None, gt=0, lt=1)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class TarReader:
    """Images by shard, offset and length. No file stays open: opening one costs a hundredth of decoding an image.

    Attributes:
        root: folder that `shards` are relative to.
        shards: paths.
        ids: (N,) names for messages.
        places: (N, 3) int64 shard, offset in bytes, length in bytes.
    """

    root: str
    shards: tuple[str, ...]
    ids: pa.Array
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> Image.Image:
        """Image `index` as RGB."""
        shard, offset, length = self.places[index].tolist()
        try:
            with Path(self.root, self.shards[shard]).open("rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError as error:
            raise DataError("a readable shard", f"{self.shards[shard]}: {error.strerror}", "restore it") from None
        return decode(data, self.ids[index].as_py())


def _members(path: str) -> Iterator[tarfile.TarInfo]:
    """The regular files of a shard in order.

    Raises:
        DataError: no tar, a compressed or truncated one, a link, or a name that leads out of the shard.
    """
    try:
        size = Path(path).stat().st_size
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise DataError(
                        "plain files in a shard", f"{member.name!r} (a link or device) in {path}", "repack it"
                    )
                if member.name.startswith("/") or ".." in member.name.split("/"):
                    raise DataError("names inside the shard", f"{member.name!r} in {path}", "repack it")
                if member.offset_data + member.size > size:
                    raise DataError("a whole shard", f"{path} ends inside {member.name!r}", "copy it again")
                yield member
    except tarfile.TarError as error:
        todo = "uncompressed shards only: decompress a .tar.gz; copy a truncated one again"
        raise DataError("a tar shard", f"{path}: {error}", todo) from None


def _label(raw: bytes, extension: str, key: str, where: str) -> Any:
    """The label in a member: an integer, a name, or a list."""
    try:
        if extension == "json":
            content = json.loads(raw)
            if isinstance(content, dict):
                if key not in content:
                    raise DataError(
                        f"{key!r} in the JSON label", f"{sorted(content)[:8]} in {where}", "name another with ?key="
                    )
                content = content[key]
            return content
        text = raw.decode().strip()
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"a .{extension} label", f"{error} in {where}", "correct it") from None
    if not text:
        raise DataError("a label for every image", f"an empty .{extension} in {where}", "label it or remove it")
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else text


@dataclass
class _Index:
    """What a walk through shards has found, a row per sample."""

    ids: list[str] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)


def _one(members: dict[str, tarfile.TarInfo], asked: str | None, usual: tuple[str, ...], what: str, where: str) -> str:
    """The extension of a sample's image or label."""
    there = [extension for extension in ((asked,) if asked else usual) if extension in members]
    if not there or (what == "image" and len(there) > 1):
        found = f"members {sorted(members)} of {where}"
        raise DataError(
            f"one {what} ({asked or ', '.join(usual)}) per sample", found, f"name its extension with ?{what}="
        )
    return there[0]


def _scan(root: str, shards: tuple[str, ...], options: WebDatasetOptions) -> _Index:
    """Finds the samples of shards: members side by side whose names agree up to the first dot of the last part."""
    index = _Index()
    for number, shard in enumerate(shards):
        path = f"{root}/{shard}"
        samples: dict[str, dict[str, tarfile.TarInfo]] = {}
        for member in _members(path):
            folder, slash, base = member.name.removeprefix("./").rpartition("/")
            stem, dot, extension = base.partition(".")
            if not dot or not stem:
                continue  # WebDataset itself passes over names without an extension and hidden files
            parts = samples.setdefault(folder + slash + stem, {})
            if extension.lower() in parts:
                raise DataError("each member once", f"{member.name!r} twice in {shard}", "make the keys unique")
            parts[extension.lower()] = member
        with Path(path).open("rb") as file:
            for key, members in samples.items():
                where = f"{key!r} in {shard}"
                image = members[_one(members, options.image, IMAGES, "image", where)]
                extension = _one(members, options.label, LABELS, "label", where)
                file.seek(members[extension].offset_data)
                raw = file.read(members[extension].size)
                index.labels.append(_label(raw, extension.rpartition(".")[2], options.key, where))
                index.ids.append(f"{shard}/{key}")
                index.places.append((number, image.offset_data, image.size))
    return index


def _column(labels: list[Any], where: str) -> pa.Array:
    try:
        return pa.array(labels)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError("labels of one type", f"{error} in {where}", "correct the shards") from None


def open_webdataset(name: str, spec: SourceSpec, options: WebDatasetOptions) -> Dataset:
    """The samples of tar shards.

    Raises:
        DataError: no shards, a shard that is no plain tar, or a sample without an image or a label.
    """
    asked = {"train": options.train, "val": options.val, "test": options.test}
    found = find_splits(spec.rest, asked, SUFFIXES, spec.text, whole=options.split is not None)
    if options.split is not None and set(found.splits) != {"train"}:
        raise DataError("split= only where nothing but train is there", spec.text, "leave split= away")
    scans = {split: _scan(found.root, shards, options) for split, shards in found.splits.items()}
    columns = {split: _column(scan.labels, f"{split} of {spec.text!r}") for split, scan in scans.items()}
    labels = read_labels(columns, None, spec.text)
    splits: dict[str, Split] = {}
    for split, scan in scans.items():
        shards, targets = found.splits[split], labels.targets[split]
        ids = pa.array(scan.ids, pa.string())
        places = np.array(scan.places, np.int64).reshape(-1, 3)
        stamps = Stamps.of([f"{found.root}/{shard}" for shard in shards])
        files = of_files(found.root, pa.array(shards), stamps, PIECES)
        cuts = {split: np.arange(len(ids))}
        if options.split is not None:
            out = held_out(ids, targets, options.split, options.seed, spec.text)
            cuts = {"train": np.flatnonzero(~out), "test": np.flatnonzero(out)}
        whole = TarReader(found.root, shards, ids, places)
        for cut, rows in cuts.items():
            part = ids.take(pa.array(rows))
            what = [of_labels(part, targets[rows]), of_array(places[rows, 2])]
            fingerprint, state = (combine([*what, digest]) for digest in files)
            reader = whole if len(rows) == len(ids) else Rows(whole, rows)
            splits[cut] = Split(cut, part, targets[rows], reader, fingerprint, state)
    return assemble(name, spec.text, labels.classes, splits, multilabel=labels.multilabel)


SOURCE = Source("wds:GLOB", "WebDataset tar shards", WebDatasetOptions, open_webdataset)
