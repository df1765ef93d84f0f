"""`hf:NAME`: a Hugging Face dataset, from the hub, saved to disk, or a local folder of files (extra `hub`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from pydantic import Field

from benchmark.data.assemble import assemble
from benchmark.data.dataset import Dataset, Split
from benchmark.data.fingerprint import Stamps, combine, of_array, of_content, of_labels
from benchmark.data.images import decode, read_image
from benchmark.data.labels import read_labels
from benchmark.data.options import Options
from benchmark.data.partition import Rows, held_out
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError, nearest

LABEL_NAMES = ("label", "labels", "target", "class")
SPLIT_NAMES = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}
SAMPLED_ROWS = 512  # images whose bytes the fingerprint looks at; the lengths of all are part of it


class HuggingFaceOptions(Options):
    """Options of `hf:`.

    Attributes:
        config: of the dataset (also as the last part of NAME/config).
        revision: branch, tag or commit on the hub.
        train, val, test: names of the splits.
        image: column of images (the only one of that type).
        label: column of class labels, integers, names, or lists of them.
        split: the fraction of the rows to report on, where there is one split.
        seed: of that draw.
    """

    config: str | None = None
    revision: str | None = None
    train: str | None = None
    val: str | None = None
    test: str | None = None
    image: str | None = None
    label: str | None = None
    split: float | None = Field(None, gt=0, lt=1)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class HubReader:
    """Images of a `datasets.Dataset` (memory-mapped Arrow files, which travel to workers as their paths).

    Attributes:
        rows: with the image column only, not decoded.
        column: its name.
        name: of the split, for messages.
    """

    rows: Any
    column: str
    name: str

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Image.Image:
        """Image `index` as RGB."""
        cell = self.rows[index][self.column]
        name = f"row {index} of {self.name}"
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise DataError("an image in every row", f"none in {name}", "remove the row")
        return decode(cell["bytes"], name) if cell["bytes"] is not None else read_image(cell["path"], name)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(
            "the datasets library for hf:", "it is not installed", "pip install 'transferbench[hub]'"
        ) from None
    return datasets


def _name_and_config(rest: str, options: HuggingFaceOptions) -> tuple[str, str | None]:
    parts = rest.split("/")
    if len(parts) == 3:
        if options.config is not None:
            raise DataError("one config", f"{parts[2]!r} and {options.config!r}", "write it once")
        return "/".join(parts[:2]), parts[2]
    if not rest or len(parts) > 3:
        raise DataError(
            "hf:NAME, hf:ORG/NAME, hf:ORG/NAME/CONFIG or hf:FOLDER", repr(rest), "check the name; is the folder there?"
        )
    return rest, options.config


def _load(spec: SourceSpec, options: HuggingFaceOptions) -> dict[str, Any]:
    """All splits, by the names they have there."""
    library = _library()
    local = Path(spec.rest).expanduser() if spec.rest else None
    try:
        if local is not None and local.is_dir():
            if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
                loaded = library.load_from_disk(str(local))
            else:
                loaded = library.load_dataset(str(local), options.config)
        else:
            name, config = _name_and_config(spec.rest, options)
            loaded = library.load_dataset(name, config, revision=options.revision)
    except (OSError, ValueError, RuntimeError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:240] or type(error).__name__
        todo = "check name, config, revision and network; a local copy works as hf:FOLDER"
        raise DataError("a dataset that can be loaded", f"{spec.text!r}: {reason}", todo) from None
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


def _choose(loaded: dict[str, Any], options: HuggingFaceOptions, text: str) -> dict[str, str]:
    """Our split name -> theirs."""
    chosen: dict[str, str] = {}
    for split, usual in SPLIT_NAMES.items():
        asked = getattr(options, split)
        if asked is not None:
            if asked not in loaded:
                raise DataError(f"the split {asked!r}", f"splits {sorted(loaded)} in {text!r}", nearest(asked, loaded))
            chosen[split] = asked
            continue
        present = [name for name in usual if name in loaded]
        if len(present) > 1:
            raise DataError(f"one {split} split", f"{present} in {text!r}", f"name one with ?{split}=")
        if present:
            chosen[split] = present[0]
    if options.split is not None:
        if set(chosen) != {"train"}:
            raise DataError(
                "split= only where nothing but train is there", f"{sorted(chosen)} in {text!r}", "leave split= away"
            )
    elif set(chosen) == {"train"} or "train" not in chosen:
        raise DataError("a train split and a test or validation split", f"splits {sorted(loaded)} in {text!r}",
                        "name them with ?train= and ?test=, or add split=0.2")  # fmt: skip
    return chosen


def _column(features: Any, asked: str | None, candidates: list[str], what: str, text: str) -> str:
    if asked is not None:
        if asked not in features:
            raise DataError(
                f"the {what} column {asked!r}", f"columns {list(features)} in {text!r}", nearest(asked, features)
            )
        return asked
    if len(candidates) != 1:
        found = f"{candidates or 'none'} among the columns {list(features)} of {text!r}"
        raise DataError(f"one {what} column", found, f"name it with ?{what}=COLUMN")
    return candidates[0]


def _names(feature: Any) -> list[str] | None:
    """Class names of a ClassLabel, or of a list of them."""
    inner = getattr(feature, "feature", None)
    if isinstance(feature, list) and feature:
        inner = feature[0]
    names = getattr(feature, "names", None) or getattr(inner, "names", None)
    return None if names is None else [str(name) for name in names]


def _arrow(rows: Any, column: str) -> pa.ChunkedArray:
    """A column as Arrow, in the order of the rows (which may be a selection of the table)."""
    return rows.select_columns([column]).with_format("arrow")[:].column(column)


def _digests(rows: Any, column: str) -> tuple[str, str]:
    """Fingerprint and state of the images of a split: all lengths and some contents; the files behind them."""
    cells = _arrow(rows, column)
    data = pc.struct_field(cells, "bytes")
    lengths = pc.fill_null(pc.cast(pc.binary_length(data), pa.int64()), -1).to_numpy()
    outside = pc.struct_field(cells, "path").filter(pc.is_null(data))
    paths = [path for path in outside.to_pylist() if path is not None]
    picked = sorted({k * len(cells) // SAMPLED_ROWS for k in range(SAMPLED_ROWS)}) if len(cells) else []
    contents = []
    for row in picked:
        cell = cells[row].as_py()
        if cell is not None and cell["bytes"] is not None:
            contents.append(combine([cell["bytes"].hex()]))
        elif cell is not None and cell["path"] is not None:
            contents.append(of_content(cell["path"]))
    files = [entry["filename"] for entry in rows.cache_files] + paths
    missing = [path for path in files if not Path(path).is_file()]
    if missing:
        raise DataError(
            "the image files of the dataset", f"{missing[0]} is missing ({len(missing)} such)", "restore them"
        )
    stamps = Stamps.of(files)
    times = [of_array(values) for values in (stamps.sizes, stamps.modified, stamps.changed)]
    return combine([of_array(lengths), *contents]), combine([of_array(lengths), *files, *times])


def open_huggingface(name: str, spec: SourceSpec, options: HuggingFaceOptions) -> Dataset:
    """A dataset through the `datasets` library. Nothing is executed: scripts on the hub are refused by the library.

    Raises:
        DataError: the library is missing, or the dataset, a split or a column is, or labels are not what they should
            be.
    """
    loaded = _load(spec, options)
    library = _library()
    chosen = _choose(loaded, options, spec.text)
    features = loaded[chosen["train"]].features
    images = [key for key, feature in features.items() if isinstance(feature, library.Image)]
    image = _column(features, options.image, images, "image", spec.text)
    if not isinstance(features[image], library.Image):
        raise DataError(
            "a column of images", f"{image!r} of type {features[image]} in {spec.text!r}", "name another with ?image="
        )
    labelled = [key for key in features if key in LABEL_NAMES] or [k for k, f in features.items() if _names(f)]
    label = _column(features, options.label, labelled, "label", spec.text)
    for theirs in chosen.values():
        for column in (image, label):
            if loaded[theirs].features.get(column) != features[column]:
                found = f"{loaded[theirs].features.get(column)} in {theirs} of {spec.text!r}"
                raise DataError(
                    f"column {column!r} of type {features[column]} in every split", found, "name other splits"
                )
    raw = {split: loaded[theirs].cast_column(image, library.Image(decode=False)) for split, theirs in chosen.items()}
    labels = read_labels({s: _arrow(rows, label) for s, rows in raw.items()}, _names(features[label]), spec.text)
    splits: dict[str, Split] = {}
    for split, rows in raw.items():
        ids = pa.array([f"{chosen[split]}/{index}" for index in range(len(rows))], pa.string())
        targets = labels.targets[split]
        digests = _digests(rows, image)
        reader = HubReader(rows.select_columns([image]), image, f"{chosen[split]} of {spec.text}")
        cuts = {split: np.arange(len(ids))}
        if options.split is not None:
            out = held_out(ids, targets, options.split, options.seed, spec.text)
            cuts = {"train": np.flatnonzero(~out), "test": np.flatnonzero(out)}
        for cut, picked in cuts.items():
            part = ids.take(pa.array(picked))
            what = of_labels(part, targets[picked])
            fingerprint, state = (combine([what, options.revision or "", digest]) for digest in digests)
            mine = reader if len(picked) == len(ids) else Rows(reader, picked)
            splits[cut] = Split(cut, part, targets[picked], mine, fingerprint, state)
    return assemble(name, spec.text, labels.classes, splits, multilabel=labels.multilabel)


SOURCE = Source(
    "hf:NAME[/CONFIG]", "Hugging Face datasets, on the hub or local (extra `hub`)", HuggingFaceOptions, open_huggingface
)
