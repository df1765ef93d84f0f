"""What predictions say of the images, which is the same for every model: which there are, and what is on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.errors import ResultError
from benchmark.metrics import columns

_TODO = "run on the board's data; predictions are not to be changed"


@dataclass(frozen=True)
class Labels:
    """The class of each image, from tables that hold it (`sample`, and an integer `target`).

    Attributes:
        ids: (N,) Arrow strings, each once.
        targets: (N,) class indices.
        complete: whether these are all images of the reported split (episodes meet only some).
    """

    ids: pa.Array
    targets: np.ndarray
    complete: bool

    @staticmethod
    def of(table: pa.Table, complete: bool) -> Labels | None:
        """The labels in a table of predictions; None where it has no class per image.

        Raises:
            ResultError: one image has two classes.
        """
        if not {"sample", "target"} <= set(table.column_names):
            return None
        if not pa.types.is_integer(table.schema.field("target").type):
            return None
        target = columns.integers(table, "target")
        samples = columns.column(table, "sample").cast(pa.string()).dictionary_encode()
        codes = samples.indices.to_numpy()
        first = np.zeros(len(samples.dictionary), dtype=np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last assignment is the first row
        targets = target[first]
        wrong = np.flatnonzero(target != targets[codes])
        if len(wrong):
            name = samples.dictionary[int(codes[wrong[0]])].as_py()
            classes = sorted({int(target[wrong[0]]), int(targets[codes[wrong[0]]])})
            raise ResultError("one class per image", f"{name!r} with classes {classes}", _TODO)
        return Labels(samples.dictionary, targets, complete)

    def check(self, others: Labels) -> None:
        """Whether another table speaks of the same images.

        Raises:
            ResultError: an image that is not known, one that is missing, or another class of one.
        """
        place = pc.index_in(others.ids, value_set=self.ids)
        known = pc.is_valid(place).to_numpy(zero_copy_only=False)
        if self.complete and not known.all():
            name = others.ids[int(np.flatnonzero(~known)[0])].as_py()
            raise ResultError(f"the board's {len(self.ids)} images", f"{name!r} beside them", _TODO)
        where = pc.drop_null(place).to_numpy(zero_copy_only=False)
        if others.complete and len(where) < len(self.ids):
            missing = np.setdiff1d(np.arange(len(self.ids)), where)
            name = pc.min(self.ids.take(pa.array(missing))).as_py()
            raise ResultError("predictions for every image of the board", f"none of {name!r}", _TODO)
        mine, theirs = self.targets[where], others.targets[known]
        wrong = np.flatnonzero(mine != theirs)
        if len(wrong):
            name = others.ids[int(np.flatnonzero(known)[wrong[0]])].as_py()
            found = f"class {int(theirs[wrong[0]])}, and so for {len(wrong)} images"
            raise ResultError(f"class {int(mine[wrong[0]])} for {name!r}, as on the board", found, _TODO)

    def joined(self, others: Labels) -> Labels:
        """Both together; they agree where they meet."""
        new = pc.is_null(pc.index_in(others.ids, value_set=self.ids))
        ids = pa.concat_arrays([self.ids, others.ids.filter(new)])
        targets = np.concatenate([self.targets, others.targets[new.to_numpy(zero_copy_only=False)]])
        return Labels(ids, targets, self.complete or others.complete)


@dataclass(frozen=True)
class Judged:
    """What a scorer judged, whatever its labels are (sets of classes, pixels, boxes).

    Attributes:
        units: (N,) ids.
        strata: (N,) the labels of each, or a number that stands for them.
    """

    units: np.ndarray
    strata: np.ndarray

    def check(self, others: Judged) -> None:
        """Whether another table was judged on the same.

        Raises:
            ResultError: other units, or other labels of one.
        """
        if not np.array_equal(self.units, others.units):
            found = f"{len(others.units)} that are not the same"
            raise ResultError(f"predictions for the board's {len(self.units)} images", found, _TODO)
        wrong = np.flatnonzero(self.strata != others.strata)
        if len(wrong):
            found = f"others for {len(wrong)} images ({self.units[wrong[0]]!r} the first)"
            raise ResultError("the labels of the board", found, _TODO)
