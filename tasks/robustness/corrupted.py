"""Reported images under every corruption at every severity, judged by a linear head fitted on clean features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmark.data.sample import chosen_images, digest_order
from benchmark.errors import DataError
from benchmark.features.loader import Batch, batches
from benchmark.metrics.corruptions import EXTRA, FIFTEEN, SEVERITIES, corruptions_table
from benchmark.task import Predictions, ShiftInputs
from tasks.corruptions import corrupt, digests
from tasks.logreg import LogisticHead, LogisticSettings, fit_logistic


class CorruptionSettings(LogisticSettings):
    """The head, which is the linear task's, and the images it is asked about.

    Attributes:
        extra: with the paper's four further corruptions, which enter no mean.
        n: as many reported images at most: those first in the order of a digest of their ids; None for all.
    """

    standardise: bool = True
    extra: bool = False
    n: int | None = None


def predict_corrupted(inputs: ShiftInputs, protocol: CorruptionSettings, seed: int) -> Predictions:
    """Fits the head on train and predicts the reported images as they are and under each corruption.

    Images are cropped and resized first and corrupted then, as ImageNet-C was made. Features of changed images are
    judged as they come and not kept.

    Raises:
        NotApplicable: nothing can be held out to choose the head's penalty.
        DataError: an image that cannot be read.
    """
    features, images = inputs.features, inputs.images
    head = fit_logistic(features, protocol, seed)
    total = len(features.test)
    rows = np.arange(total)
    if protocol.n is not None and protocol.n < total:
        rows = np.sort(digest_order(features.test.ids)[: protocol.n])
    chosen = chosen_images(images.test, rows, "reported")
    if chosen.ids.to_pylist() != features.test.ids.take(rows).to_pylist():
        raise RuntimeError("images and features of another order")
    names = (*FIFTEEN, *EXTRA) if protocol.extra else FIFTEEN
    found = {name: np.zeros((len(rows), SEVERITIES), np.int32) for name in names}
    keys = digests(chosen.ids.to_pylist())
    done = 0
    for batch in batches(
        chosen.reader,
        images.backbone.preprocessing,
        range(len(rows)),
        batch_size=images.batch_size,
        workers=images.workers,
        pin=images.device.type == "cuda",
    ):
        pixels = _readable(batch).to(images.device)
        here = batch.positions
        for name in names:
            for severity in range(1, SEVERITIES + 1):
                changed = corrupt(pixels, name, severity, keys[here], seed)
                found[name][here, severity - 1] = _classes(inputs, head, protocol, changed)
                done += len(here)
                images.progress(done, len(rows) * len(names) * SEVERITIES, f"{name} {severity}")
    targets = features.test.targets.cpu().numpy()[rows]
    clean = head.logits(features.test.features[torch.from_numpy(rows).to(images.device)]).argmax(dim=1).cpu().numpy()
    table = corruptions_table(chosen.ids, targets, clean, found, len(features.classes))
    errors = {name: 100 * (classes != targets[:, None]).mean(axis=0) for name, classes in found.items()}
    rounded = {name: np.round(values, 4).tolist() for name, values in errors.items()}
    details = {"corruption_errors": rounded, "head": head.details, "images": len(rows)}
    return Predictions(table, head.how, head.held_out, details)


def _classes(inputs: ShiftInputs, head: LogisticHead, protocol: CorruptionSettings, images: Tensor) -> np.ndarray:
    """(B,) the best class of each image; the lowest among equals."""
    backbone = inputs.images.backbone
    name = backbone.default_representation if protocol.representation == "default" else protocol.representation
    features = backbone.encode(images, [name], layers=0).global_(name)
    best: np.ndarray = head.logits(features).argmax(dim=1).cpu().numpy()
    return best


def _readable(batch: Batch) -> Tensor:
    if batch.bad:
        raise DataError("readable images", next(iter(batch.bad.values())), "mend it, or pass --on-bad-image skip")
    return batch.images
