"""The reassessed labels of ImageNet's validation images: every class that people see in them, none for some.

Beyer, Hénaff, Kolesnikov, Zhai & van den Oord, "Are we done with ImageNet?", 2020 (ReaL); timm carries the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from timm.data import RealLabelsImagenet

from benchmark.data.imagenet import imagenet_positions
from benchmark.errors import DataError, NotApplicable


def real_labels(ids: Sequence[str], classes: Sequence[str], source: str) -> NDArray[np.uint8]:
    """(N, C) which classes each validation image shows; a row of zeros where people agreed on none.

    Args:
        ids: of the images; their last parts are the names under which they were published.
        classes: WordNet ids, all thousand in any order.
        source: for messages.

    Raises:
        DataError: other classes than the thousand, or an image that is none of ImageNet's 50,000.
    """
    try:
        places = imagenet_positions(classes)
    except NotApplicable as error:
        raise DataError(error.expected, f"{error.found} in {source!r}", "labels=real needs ImageNet-1k") from error
    if len(places) != 1000:
        raise DataError("the 1,000 classes of ImageNet-1k", f"{len(places)} in {source!r}", "labels=real needs them")
    known = RealLabelsImagenet([""] * 50_000).real_labels
    names = [PurePosixPath(key).name for key in ids]
    stems = {PurePosixPath(name).stem: labels for name, labels in known.items()}
    strange = [name for name in names if PurePosixPath(name).stem not in stems]
    if strange:
        found = f"{strange[0]!r} ({len(strange)} such) in {source!r}"
        raise DataError("images named ILSVRC2012_val_00000001.JPEG to ..50000", found, "give ImageNet's validation set")
    column = np.empty(1000, np.int64)
    column[places] = np.arange(1000)
    rows = [np.array(stems[PurePosixPath(name).stem], np.int64) for name in names]
    labels = np.zeros((len(names), 1000), np.uint8)
    where = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    labels[where, column[np.concatenate([*rows, np.empty(0, np.int64)])]] = 1
    return labels
