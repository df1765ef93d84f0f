"""`imagenet-c:ROOT`: the published folder tree of ImageNet-C, `corruption/severity/class/image`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmark.data.dataset import Collection, Dataset
from benchmark.data.fingerprint import Stamps
from benchmark.data.folder import Found, make_split, scan_classes, subfolders
from benchmark.data.options import Options
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError


class VariantOptions(Options):
    """`imagenet-c:` has no options."""


def collect_variants(name: str, spec: SourceSpec, options: VariantOptions) -> Collection:
    """All changed versions of the same images, named `corruption/severity`.

    Raises:
        DataError: nothing there, a severity that some corruption lacks, or images that some of them lack.
    """
    root = Path(spec.rest).expanduser().absolute()
    if not spec.rest or not root.is_dir():
        raise DataError("the folder of ImageNet-C", f"nothing at {spec.rest!r}", "check the path in imagenet-c:PATH")
    severities = {change: subfolders(root / change) for change in subfolders(root)}
    every = sorted({severity for there in severities.values() for severity in there})
    if not severities or any(not severity.isdigit() for severity in every):
        found = f"{', '.join([*every, *severities][:4]) or 'nothing'} in {root}"
        raise DataError("folders corruption/severity/class/image", found, "give the folder above the corruptions")
    for change, there in severities.items():
        lacking = [severity for severity in every if severity not in there]
        if lacking:
            found = f"no {change}/{lacking[0]} in {root}"
            raise DataError(f"severities {', '.join(every)} of every corruption", found, "unpack it")
    first: Found | None = None
    first_at = ""
    ids: list[str] = []
    counts: list[int] = []
    stamps: list[np.ndarray] = []
    names = tuple(f"{change}/{severity}" for change in severities for severity in every)
    for at in names:
        scan = scan_classes(root, at)
        if first is None:
            first, first_at = scan, at
        else:
            _check_same(first, first_at, scan, at, root)
        ids += scan.names
        counts += scan.counts
        stamps.append(np.array(scan.stamps, np.int64).reshape(-1, 3))
    assert first is not None
    labels = np.tile(np.arange(len(first.classes)), len(counts) // len(first.classes))
    targets = np.repeat(labels, counts).astype(np.int64)
    split = make_split(root, "test", pa.array(ids, pa.string()), targets, Stamps.of_rows(np.concatenate(stamps)))
    return Collection(split, tuple(first.classes), variants=names)


def _check_same(first: Found, first_at: str, scan: Found, at: str, root: Path) -> None:
    mine = [name.removeprefix(f"{at}/") for name in scan.names]
    theirs = [name.removeprefix(f"{first_at}/") for name in first.names]
    if mine != theirs:
        odd = sorted(set(mine) ^ set(theirs)) or mine
        lacks = at if odd[0] in set(theirs) else first_at
        found = f"no {odd[0]!r} in {lacks} of {root} ({len(odd)} such)"
        raise DataError("the same images under every corruption and severity", found, "unpack it again")


def _no_dataset(name: str, spec: SourceSpec, options: VariantOptions) -> Dataset:
    todo = "pass --shift clean=folder:IMAGENET NAME=imagenet-c:PATH"
    raise DataError("a source that can be learned from", f"{spec.text!r}, which has no train", todo)


SOURCE = Source(
    "imagenet-c:PATH",
    "the folders of ImageNet-C, corruption/severity/class/image, as the shifted images of a pair",
    VariantOptions,
    _no_dataset,
    collect_variants,
)
