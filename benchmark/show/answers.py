"""A result read again beside its data: images, what was asked of them, what was answered."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco

from benchmark.data.dataset import Dataset, Split
from benchmark.data.sample import digest_order
from benchmark.data.source import open_source
from benchmark.errors import DataError, RequestError, ResultError, nearest
from benchmark.features.masks import nearest as at_size
from benchmark.metrics.columns import column
from benchmark.results.schema import Result
from benchmark.results.store import open_store, read_predictions
from benchmark.show.colours import class_colours
from benchmark.show.panels import UNTINTED, Found, boxed, painted

_SIDE = 420  # pixels of the longer side of a drawn image
_AGAIN = "run the cell again with --overwrite always"


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        caption: its id and how well it went.
        panels: the image, what was asked, what was answered.
        classes: indices of the classes that are drawn.
    """

    caption: str
    panels: tuple[Image.Image, Image.Image, Image.Image]
    classes: frozenset[int]


@dataclass(frozen=True)
class Asked:
    """What a picture shows.

    Attributes:
        title: the result in one line.
        names: of the classes.
        colours: (C, 3) of the classes.
        rows: an image each.
    """

    title: str
    names: tuple[str, ...]
    colours: NDArray[np.uint8]
    rows: tuple[Row, ...]


def chosen_results(folder: Path, task: str, model: str | None) -> list[tuple[Path, Result]]:
    """The done results of a task, with their files.

    Raises:
        ResultError: none, or no such model.
    """
    found = [(path, result) for path, result in open_store(folder).results() if result.status == "done"]
    models = sorted({result.model.name for _, result in found})
    if model is not None and model not in models:
        raise ResultError(f"a model of {folder}", repr(model), nearest(model, models))
    chosen = [(path, each) for path, each in found if each.task == task and model in (None, each.model.name)]
    if not chosen:
        tasks = sorted({result.task for _, result in found}) or ["none"]
        raise ResultError(f"done results of {task} in {folder}", f"tasks {', '.join(tasks)}", "name another --task")
    return chosen


def asked_of(folder: Path, result: Result, n: int, score: float) -> Asked:
    """Reads images, targets and predictions of a result.

    Raises:
        DataError: the data cannot be read, or is not what the result was made with.
        ResultError: the predictions cannot be read, or hold nothing to draw.
        RequestError: `n` is no number of images.
    """
    if n < 1:
        raise RequestError("one image or more", f"--n {n}", "give --n 8")
    dataset = open_source(result.data.name, result.data.source)
    if dataset.fingerprint != result.data.fingerprint:
        raise DataError(
            f"the data that {result.model.name} was evaluated on ({result.data.fingerprint[:12]})",
            f"{result.data.source} with fingerprint {dataset.fingerprint[:12]}",
            "restore that data, or run again on this one",
        )
    drawn = {"segmentation": _masks, "detection": _objects}[result.task]
    names = dataset.classes_of("masks" if result.task == "segmentation" else "objects")
    colours = class_colours(len(names))
    table = read_predictions(folder, result)
    table = table.filter(pc.and_(pc.equal(column(table, "variant").cast(pa.string()), ""), pc.equal(table["draw"], 0)))
    split = dataset.splits[result.data.reported_split]
    rows = tuple(drawn(table, split, names, colours, n, score))
    return Asked(_title(result, dataset), names, colours, rows)


def _title(result: Result, dataset: Dataset) -> str:
    metric = result.metric()
    where = f"{dataset.name}, split {result.data.reported_split}, seed {result.seed}"
    return f"{result.model.name} · {result.protocol.name} · {where} · {metric.name} {metric.value:.2f}"


def _chosen(table: pa.Table, split: Split, n: int) -> Iterator[tuple[dict[str, Any], int, NDArray[np.uint8]]]:
    """(the row of the table, the place of its image in the split, the image) of the first n images that it has."""
    place = {name: index for index, name in enumerate(split.ids.to_pylist())}
    ids = table["sample"].combine_chunks()
    for index in digest_order(ids)[:n].tolist():
        (row,) = table.slice(index, 1).to_pylist()
        if row["sample"] not in place:
            raise ResultError(f"images of {split.name}", f"{row['sample']!r}, which it has not", _AGAIN)
        yield row, place[row["sample"]], np.asarray(split.reader.read(place[row["sample"]]))


def _zoom(image: NDArray[np.uint8]) -> float:
    return min(4.0, _SIDE / max(image.shape[:2]))


def _masks(
    table: pa.Table, split: Split, names: tuple[str, ...], colours: NDArray[np.uint8], n: int, score: float
) -> Iterator[Row]:
    assert split.masks is not None
    if "map" not in table.column_names or table["map"].null_count == len(table):
        raise ResultError("predicted maps, stored with the result", "none: an earlier version made it", _AGAIN)
    for row, index, photo in _chosen(table.filter(pc.is_valid(table["map"])), split, n):
        target = split.masks.mask(index).astype(np.int64)
        zoom = _zoom(photo)
        size = (max(1, round(photo.shape[0] * zoom)), max(1, round(photo.shape[1] * zoom)))
        answer = _map(row, len(names))
        shown = np.asarray(Image.fromarray(photo).resize((size[1], size[0]), Image.Resampling.BILINEAR))
        parts = [at_size(labels, size) for labels in (target, answer)]
        panels = (Image.fromarray(shown), *(Image.fromarray(painted(shown, part, colours, names)) for part in parts))
        right, labelled = sum(row["intersection"]), sum(row["labelled"])
        caption = f"{row['sample']} · {100 * right / labelled:.0f}% of pixels right" if labelled else row["sample"]
        seen = {int(label) for part in parts for label in np.unique(part) if label < len(names)}
        tinted = frozenset(label for label in seen if names[label].lower() not in UNTINTED)
        yield Row(caption, (panels[0], panels[1], panels[2]), tinted)


def _map(row: dict[str, Any], classes: int) -> NDArray[np.int64]:
    """The stored map of a row.

    Raises:
        ResultError: no PNG, or not of these classes.
    """
    try:
        with Image.open(io.BytesIO(row["map"]), formats=["PNG"]) as image:
            labels = np.asarray(image)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ResultError("a predicted map as PNG", f"{row['sample']}: {error}", _AGAIN) from error
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise ResultError(f"a predicted map of {classes} classes", f"{row['sample']}: others", _AGAIN)
    return labels.astype(np.int64)


def _objects(
    table: pa.Table, split: Split, names: tuple[str, ...], colours: NDArray[np.uint8], n: int, score: float
) -> Iterator[Row]:
    for row, _, photo in _chosen(table, split, n):
        if (row["height"], row["width"]) != photo.shape[:2]:
            found = f"{row['width']} x {row['height']} for {row['sample']} of {photo.shape[1]} x {photo.shape[0]}"
            raise ResultError("predictions of the size of their image", found, _AGAIN)
        faint = np.array(row["target_crowd"], bool) | np.array(row["target_difficult"], bool)
        asked = _found(row, "target_", names, np.arange(len(faint)), faint)
        best = np.flatnonzero(np.array(row["scores"], np.float64) >= score)[::-1]  # the best is drawn last, on top
        answer = _found(row, "", names, best, np.zeros(len(best), bool))
        zoom = _zoom(photo)
        empty = Found(np.zeros((0, 4)), np.zeros(0, np.int64), (), None, np.zeros(0, bool))
        panels = [boxed(photo, each, colours, zoom) for each in (empty, asked, answer)]
        caption = f"{row['sample']} · {len(faint)} objects, {len(best)} found with a score of {score:g} or more"
        seen = frozenset(np.concatenate([asked.labels, answer.labels]).tolist())
        yield Row(caption, (panels[0], panels[1], panels[2]), seen)


def _found(
    row: dict[str, Any], side: str, names: tuple[str, ...], which: NDArray[np.int64], faint: NDArray[np.bool_]
) -> Found:
    """The objects of a row at the places `which`.

    Raises:
        ResultError: a label that is no class.
    """
    labels = np.array(row[f"{side}labels"], np.int64)[which]
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise ResultError(f"labels of {len(names)} classes", f"{labels.max()} in {row['sample']}", _AGAIN)
    masks = None
    if row.get(f"{side}masks") is not None and len(which):
        size = [row["height"], row["width"]]
        codes = [{"size": size, "counts": row[f"{side}masks"][index]} for index in which.tolist()]
        masks = coco.decode(codes).transpose(2, 0, 1).astype(bool)
    boxes = np.array(row[f"{side}boxes"], np.float64).reshape(-1, 4)[which]
    captions = [names[label] for label in labels.tolist()]
    if not side:
        scores = (row["scores"][index] for index in which.tolist())
        captions = [f"{name} {score:.2f}" for name, score in zip(captions, scores, strict=True)]
    return Found(boxes, labels, tuple(captions), masks, faint)
