"""`shift:?clean=SOURCE&shifted=SOURCE`: opens the pair and says which answers count as right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

from benchmark.data.dataset import Collection, Dataset, ImageReader, Shift
from benchmark.data.fingerprint import combine
from benchmark.data.options import Options
from benchmark.data.sample import chosen_images
from benchmark.data.shift.classmap import ClassMap, class_map
from benchmark.data.shift.reassessed import real_labels
from benchmark.data.source import Source, SourceSpec, open_collection, open_source
from benchmark.errors import DataError


class ShiftOptions(Options):
    """Options of `shift:`; an `&` within a source is written `%26`.

    Attributes:
        clean: the source whose train is learned, and whose reported split is the reference.
        shifted: the source of the images from elsewhere: its reported split, or all of a folder of classes.
        map: the class map, see `class_map`; needed where class names differ.
        labels: `real` for the reassessed labels of ImageNet's validation images instead of the folders'.
    """

    clean: str = ""
    shifted: str = ""
    map: str | None = None
    labels: Literal["real"] | None = None


@dataclass(frozen=True)
class _Bordered:
    """Images without the outermost pixels."""

    reader: ImageReader
    border: int

    def __len__(self) -> int:
        return len(self.reader)

    def read(self, index: int) -> Image.Image:
        image = self.reader.read(index)
        width, height = image.size
        if min(width, height) <= 2 * self.border:
            raise DataError(f"images of more than {2 * self.border} pixels", f"{width}x{height}", "check the class map")
        return image.crop((self.border, self.border, width - self.border, height - self.border))


def open_shift(name: str, spec: SourceSpec, options: ShiftOptions) -> Dataset:
    """The clean dataset, with the shifted images that can be judged as the split `shifted`.

    Images of classes that the map leaves out, or (with `labels=real`) on whose class people did not agree, are not in
    it.

    Raises:
        DataError: a source is missing, or class names that do not match.
    """
    for key in ("clean", "shifted"):
        if spec.rest or not getattr(options, key):
            found = f"no {key}= in {spec.text!r}" if not spec.rest else repr(spec.text)
            raise DataError(
                "shift:?clean=SOURCE&shifted=SOURCE", found, "for example --shift clean=folder:a shifted=folder:b"
            )
    clean = open_source(name, options.clean)
    if clean.multilabel or not clean.classes:
        raise DataError("clean images of one class each", f"others in {options.clean!r}", "use another source")
    shifted = open_collection(name, options.shifted)
    if options.labels == "real":
        if options.map is not None:
            raise DataError("labels=real or map=", f"both in {spec.text!r}", "leave one away")
        targets = real_labels(shifted.split.ids.to_pylist(), clean.classes, spec.text)
        split = replace(shifted.split, targets=targets, fingerprint=combine([shifted.split.fingerprint, "real"]))
        shifted = replace(shifted, split=split, classes=clean.classes, multilabel=True)
    chosen = class_map(options.map, clean.classes, shifted.classes, spec.text)
    return _pair(name, spec.text, options, clean, shifted, chosen)


def _pair(
    name: str, text: str, options: ShiftOptions, clean: Dataset, shifted: Collection, chosen: ClassMap
) -> Dataset:
    shift = Shift(options.shifted, shifted.classes, chosen.accepted, shifted.variants)
    split, said = shifted.split, [*clean.notices, *(f"shifted: {line}" for line in shifted.notices)]
    meaning = [*shifted.classes, str(chosen.border)]
    if chosen.accepted is not None:
        judged = shift.accepted_of(split.targets).any(axis=1)
        if not judged.any():
            raise DataError(
                "shifted images of clean classes", f"none of {len(split)} in {text!r}", "check the class map"
            )
        if shifted.variants and not judged.all():
            found = f"{int((~judged).sum())} of {len(split)} images of others in {text!r}"
            raise DataError("changed versions of clean images, of clean classes", found, "give all the clean classes")
        if not judged.all():
            said.append(f"{int((~judged).sum())} of {len(split)} shifted images are of no clean class and left out")
            split = chosen_images(split, np.flatnonzero(judged), f"judged {options.map} {options.labels}")
        meaning.append(np.packbits(chosen.accepted).tobytes().hex())
    if chosen.border:
        split = replace(split, reader=_Bordered(split.reader, chosen.border))
    state = combine([split.state, str(chosen.border)])
    split = replace(split, name="shifted", fingerprint=combine([split.fingerprint, *meaning]), state=state)
    return replace(
        clean,
        name=name,
        source=text,
        splits={**clean.splits, "shifted": split},
        notices=tuple(said),
        shift=shift,
    )


SOURCE = Source(
    "shift:?clean=SOURCE&shifted=SOURCE",
    "a dataset and images from elsewhere, for robustness (see run --shift)",
    ShiftOptions,
    open_shift,
)
