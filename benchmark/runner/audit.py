"""Is the declared preprocessing the right one? What other plausible settings score on a small sample.

Wrong statistics do not fail: the features are there, and score low. So each setting encodes the same few images, k-NN
judges them (two halves of the sample, each the other's neighbours), and the declared setting is compared with each
other one image by image: exact McNemar, Holm over the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.execution import plan_execution
from benchmark.backbones.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from benchmark.backbones.sources import open_backbone
from benchmark.data.dataset import Dataset, Split
from benchmark.data.sample import balanced_sample
from benchmark.data.source import open_source
from benchmark.errors import DataError
from benchmark.features.extract import extract
from benchmark.features.store import FeatureStore
from benchmark.metrics.significance import holm, mcnemar
from benchmark.runner.registry import load_protocol, load_task
from benchmark.runner.reporter import Reporter
from benchmark.runner.request import default_cache
from benchmark.task import Inputs, SplitFeatures

ALPHA = 0.01  # chance of a warning over all settings where none is better
NEIGHBOURS = 10
_WORTH = 2.0  # points from which on a lead that may be luck is worth more images
PER_CLASS = 20  # images of a class in the sample, so that neighbours can be of the same class
DECLARED = "declared"
# github.com/openai/CLIP, clip/clip.py; Caffe's and MSRA's means as in detectron2/config/defaults.py.
_CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
_CAFFE = {"mean": (103.53, 116.28, 123.675), "std": (1.0, 1.0, 1.0), "channel_order": "bgr", "value_range": 255}


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        setting: what differs from the declared one.
        top1: k-NN accuracy on the sample, in percent.
        delta: to the declared setting, in points.
        p_value: exact McNemar against the declared setting, Holm-adjusted; 1 for that setting itself.
    """

    setting: str
    top1: float
    delta: float
    p_value: float


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        rows: the declared setting first, then the others, best first.
        images, classes: of the sample.
        warning: one line, where another setting is clearly better; else empty.
    """

    rows: tuple[Row, ...]
    images: int
    classes: int
    warning: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def plausible(declared: Preprocessing) -> dict[str, Preprocessing]:
    """The declared preprocessing and those that it is commonly confused with, by what differs; duplicates left out."""
    plain = {"channel_order": "rgb", "value_range": 1}
    changes: dict[str, dict[str, Any]] = {
        DECLARED: {},
        "mean, std of ImageNet": {**plain, "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        "mean 0.5, std 0.5": {**plain, "mean": (0.5,) * 3, "std": (0.5,) * 3},
        "mean, std of CLIP": {**plain, **_CLIP},
        "no mean and std: [0, 1]": {**plain, "mean": (0.0,) * 3, "std": (1.0,) * 3},
        "BGR, 0..255 (Caffe)": dict(_CAFFE),
        "channels swapped": {"channel_order": "rgb" if declared.channel_order == "bgr" else "bgr"},
        "bilinear" if declared.interpolation != "bilinear" else "bicubic": {
            "interpolation": "bilinear" if declared.interpolation != "bilinear" else "bicubic"
        },
        "no crop": {"crop_pct": 1.0},
        "squashed": {"mode": "squash"},
    }
    found: dict[str, Preprocessing] = {}
    for name, change in changes.items():
        setting = Preprocessing(**{**declared.model_dump(), **change})
        if setting.key() not in {other.key() for other in found.values()}:
            found[name] = setting
    return found


def audit(
    backbone: Backbone,
    dataset: Dataset,
    store: FeatureStore,
    *,
    images: int = 500,
    seed: int = 0,
    workers: int | None = None,
    bar: Callable[[str], AbstractContextManager[Callable[[int, int, str], None]]],
) -> Audit:
    """Scores every plausible setting on the same sample of the training split.

    Args:
        backbone: under its declared preprocessing.
        dataset: labelled images, one label each.
        store: where features are kept.
        images: the size of the sample.
        seed: of the sample.
        workers: decoding processes.
        bar: makes a progress bar for one setting.

    Raises:
        DataError: multi-label data, too few images, or unreadable ones.
    """
    sample = balanced_sample(dataset.splits["train"], images, PER_CLASS, seed)
    right: dict[str, np.ndarray] = {}
    for name, setting in plausible(backbone.preprocessing).items():
        with bar(name) as update:
            encoder = backbone.under(setting)
            names = [encoder.default_representation]
            found = extract(
                encoder, sample, names, store, preprocessing=setting, workers=workers, progress=update
            ).features
        right[name] = _judge(found.load(names[0], torch.device("cpu")), sample, dataset)
    base = right[DECLARED]
    others = [name for name in right if name != DECLARED]
    raw = [mcnemar(int((base & ~right[n]).sum()), int((right[n] & ~base).sum())) for n in others]
    adjusted = dict(zip(others, holm(raw), strict=True))
    top1 = {name: 100.0 * float(hits.mean()) for name, hits in right.items()}
    rows = [Row(name, top1[name], top1[name] - top1[DECLARED], adjusted.get(name, 1.0)) for name in right]
    rows = [rows[0], *sorted(rows[1:], key=lambda row: -row.top1)]
    better = [row for row in rows[1:] if row.delta > 0 and row.p_value < ALPHA]
    warning = ""
    if better:
        warning = (
            f"{better[0].setting} scores {better[0].top1:.1f} where the declared preprocessing scores "
            f"{rows[0].top1:.1f} (p {better[0].p_value:.1g}): check --preprocess before trusting any figure"
        )
    return Audit(tuple(rows), len(sample), len(np.unique(sample.targets)), warning)


def audit_checkpoint(
    spec: str,
    source: str | None,
    arch: str | None = None,
    layout: str | None = None,
    key: str | None = None,
    preprocess: Sequence[str] = (),
    images: int = 500,
) -> Audit:
    """Audits a checkpoint as the command line names it, with a progress bar per setting.

    Raises:
        RequestError: no source, or a checkpoint or source that cannot be opened.
    """
    if source is None:
        raise DataError("labelled images for the audit", "no --data", "give --data SOURCE (see `list sources`)")
    if not images >= 20:
        raise DataError("20 images or more", f"--images {images}", "give more")
    execution = plan_execution("cuda" if torch.cuda.is_available() else "cpu")
    backbone = open_backbone(spec, arch=arch, layout=layout, key=key, preprocess=preprocess, execution=execution)
    dataset = open_source("audit", source)
    reporter = Reporter()
    return audit(
        backbone, dataset, FeatureStore(default_cache()), images=images,
        bar=lambda name: reporter.bar(f"audit: {name}", "images"),
    )  # fmt: skip


def _judge(features: torch.Tensor, sample: Split, dataset: Dataset) -> np.ndarray:
    """(N,) whether each image's neighbours in the other half of the sample vote for its class."""
    task = load_task("knn")
    protocol = load_protocol(task, None, {"ks": [NEIGHBOURS], "headline_k": NEIGHBOURS})
    targets = torch.from_numpy(sample.targets).long()
    half = np.zeros(len(sample), dtype=bool)
    for label in np.unique(sample.targets):
        half[np.flatnonzero(sample.targets == label)[::2]] = True
    hits = np.zeros(len(sample), dtype=bool)
    for test in (half, ~half):
        parts = [SplitFeatures(features[m], targets[m], sample.ids.filter(m)) for m in (~test, test)]
        inputs = Inputs(
            dataset=dataset.name, train=parts[0], test=parts[1], classes=dataset.classes, device=torch.device("cpu")
        )
        table = task.predict(inputs, protocol, 0).table
        hits[test] = np.asarray(table["prediction"]) == np.asarray(table["target"])
    return hits


def render_audit(found: Audit) -> RenderableType:
    """The audit for a terminal."""
    title = f"Audit of the preprocessing: k-NN on {found.images} images of {found.classes} classes"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("setting")
    for column in ("top-1", "difference", "p"):
        table.add_column(column, justify="right")
    for row in found.rows:
        other = row.setting != DECLARED
        table.add_row(
            row.setting, f"{row.top1:.1f}", f"{row.delta:+.1f}" if other else "", f"{row.p_value:.2g}" if other else ""
        )
    if found.warning:
        return Group(table, Text(f"warning: {found.warning}", style="bold red"))
    verdict = "No other setting is clearly better than the declared one."
    best = max(found.rows[1:], key=lambda row: row.delta)
    if best.delta >= _WORTH:
        verdict += (
            f" {best.setting} is {best.delta:.1f} points ahead, which {found.images} images cannot tell from luck: "
            f"--images {4 * found.images} could."
        )
    return Group(table, Text(verdict))
