"""The last step of every source: splits that hold together become a `Dataset`, others are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, Split
from benchmark.errors import DataError, nearest


def _names(classes: Sequence[str], indices: NDArray[np.intp], limit: int = 5) -> str:
    shown = ", ".join(repr(classes[i]) for i in indices[:limit])
    return shown + (f" and {len(indices) - limit} more" if len(indices) > limit else "")


def _counts(targets: NDArray[np.generic], classes: int) -> NDArray[np.int64]:
    """(C,) number of images of each class."""
    whole = targets.astype(np.int64)
    counted = whole.sum(0) if whole.ndim == 2 else np.bincount(whole, minlength=classes)
    return np.asarray(counted, np.int64)


def _check_split(where: str, split: Split, classes: int, multilabel: bool) -> None:
    n = len(split.ids)
    if not n:
        raise DataError("images", f"none in {where}", "point at a split that has some")
    if len(split.targets) != n or len(split.reader) != n:
        found = f"{n} ids, {len(split.targets)} targets and {len(split.reader)} images in {where}"
        raise DataError("an id, a target and an image per sample", found, "correct the source")
    if split.ids.null_count or not pa.types.is_string(split.ids.type):
        raise DataError(
            "ids that are strings", f"{split.ids.type} with {split.ids.null_count} missing in {where}", "correct them"
        )
    counts = pc.value_counts(split.ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        first = twice[0].as_py()
        raise DataError(
            "unique ids",
            f"{first['values']!r} {first['counts']} times in {where} ({len(twice)} such ids)",
            "make them unique",
        )
    shape, kind = ((n, classes), np.uint8) if multilabel else ((n,), np.int64)
    if split.targets.shape != shape or split.targets.dtype != kind:
        found = f"{split.targets.dtype} of shape {split.targets.shape} in {where}"
        raise DataError(f"targets of type {np.dtype(kind)} and shape {shape}", found, "correct the source")
    top = 1 if multilabel else classes - 1
    bad = np.flatnonzero(
        (split.targets < 0) | (split.targets > top) if not multilabel else (split.targets > top).any(1)
    )
    if len(bad):
        found = f"{split.targets[bad[0]]} for {split.ids[int(bad[0])]} in {where}"
        raise DataError(f"targets between 0 and {top}", found, "correct the label or the class list")


def assemble(
    name: str,
    source: str,
    classes: Sequence[str],
    splits: Mapping[str, Split],
    *,
    multilabel: bool = False,
    notices: Sequence[str] = (),
    mask_classes: Sequence[str] = (),
    object_classes: Sequence[str] = (),
) -> Dataset:
    """Checks what every dataset must hold, and decides which split is reported: `test`, else `val`.

    Args:
        name: the user's name for the dataset.
        source: the source as written.
        classes: class names in the order of the target indices; none where there are pixels or objects instead.
        splits: by the names `train`, `val`, `test`.
        multilabel: whether targets are (N, C) indicators.
        notices: what the source has to say; the checks add their own.
        mask_classes: classes of pixels, where every split has masks.
        object_classes: classes of objects, where every split has objects.

    Raises:
        DataError: no train or no reported split, fewer than two classes, an empty split, ids that are missing or
            repeat, targets out of range, or a class that is reported but not in train.
    """
    reported = "test" if "test" in splits else "val"
    for needed in ("train", reported):
        if needed not in splits:
            wanted = "a train split" if needed == "train" else "a test or val split beside train"
            raise DataError(
                wanted, f"{', '.join(splits) or 'no split'} in {source!r}", "name the splits, or add split=0.2"
            )
    dense = (tuple(mask_classes), tuple(object_classes))
    if not classes and any(dense):
        for split in splits.values():
            _check_split(f"{split.name} of {source!r}", split, 0, True)
        return Dataset(name, source, (), dict(splits), reported, False, tuple(notices), *dense)
    if len(classes) < 2:
        found = f"{len(classes)} ({', '.join(map(repr, classes))}) in {source!r}"
        raise DataError("at least two classes", found, "check that the path is the folder above the classes")
    if len(set(classes)) < len(classes):
        double = next(c for c in classes if list(classes).count(c) > 1)
        raise DataError("distinct class names", f"{double!r} twice in {source!r}", "rename one")
    for split in splits.values():
        _check_split(f"{split.name} of {source!r}", split, len(classes), multilabel)
    counts = {key: _counts(split.targets, len(classes)) for key, split in splits.items()}
    trained = [c for c, count in zip(classes, counts["train"], strict=True) if count]
    if len(trained) < 2:
        raise DataError("images of at least two classes in train", f"{trained} in {source!r}", "check the labels")
    said = list(notices)
    for key, count in counts.items():
        strange = np.flatnonzero((count > 0) & (counts["train"] == 0))
        if len(strange):
            found = f"{_names(classes, strange)} in {key} of {source!r}"
            raise DataError("only classes that train has", found, nearest(classes[strange[0]], trained))
        lacking = np.flatnonzero((count == 0) & (counts["train"] > 0))
        if len(lacking):
            said.append(f"{key} has no image of {len(lacking)} of {len(classes)} classes: {_names(classes, lacking)}")
    unused = np.flatnonzero(np.sum(list(counts.values()), 0) == 0)
    if len(unused):
        said.append(f"{len(unused)} of {len(classes)} classes have no image at all: {_names(classes, unused)}")
    if multilabel:
        for key, split in splits.items():
            bare = int((split.targets.sum(1) == 0).sum())
            if bare:
                said.append(
                    f"{bare} of {len(split)} images of {key} have no label (they count as negatives of every class)"
                )
    return Dataset(name, source, tuple(classes), dict(splits), reported, multilabel, tuple(said), *dense)
