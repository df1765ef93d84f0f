"""Reported images under every corruption at every severity, judged by one head of clean features."""

from __future__ import annotations

import numpy as np

from benchmark.backbones.backbone import Backbone
from benchmark.errors import NotApplicable
from benchmark.metrics.corruptions import EXTRA, FIFTEEN, SEVERITIES, corruptions_table
from benchmark.task import Predictions, ShiftInputs
from tasks.corruptions import corrupt, digests
from tasks.corruptions.corrupt import SMALLEST
from tasks.robustness.asked import asked_of, pixels_of
from tasks.robustness.judge import JudgeSettings, judge_of
from tasks.robustness.part import Part

SUBSET = 1000
"""Reported images of a protocol that names its sub-sample."""


class CorruptionSettings(JudgeSettings):
    """The head, the images, and which corruptions.

    Attributes:
        extra: with the paper's four further corruptions, which enter no mean.
    """

    extra: bool = False


def predict_corrupted(inputs: ShiftInputs, protocol: CorruptionSettings, seed: int) -> Predictions:
    """Fits the head on train and predicts the reported images as they are and under each corruption.

    Images are cropped and resized first and corrupted then, as ImageNet-C was made. Features of changed images are
    judged as they come and not kept.

    Raises:
        NotApplicable: there is no head, see `judge_of`.
        DataError: an image that cannot be read.
    """
    features, images = inputs.features, inputs.images
    judge = judge_of(features, protocol, seed)
    asked = asked_of(inputs, protocol.n)
    names = (*FIFTEEN, *EXTRA) if protocol.extra else FIFTEEN
    found = {name: np.zeros((len(asked), SEVERITIES), np.int32) for name in names}
    keys = digests(asked.ids.to_pylist())
    done = 0
    for pixels, here in pixels_of(inputs, asked.split):
        for name in names:
            for severity in range(1, SEVERITIES + 1):
                changed = corrupt(pixels, name, severity, keys[here], seed)
                found[name][here, severity - 1] = judge.of_images(images.backbone, changed).argmax(dim=1).cpu().numpy()
                done += len(here)
                images.progress(done, len(asked) * len(names) * SEVERITIES, f"{name} {severity}")
    clean = judge.logits(asked.features).argmax(dim=1).cpu().numpy()
    table = corruptions_table(asked.ids, asked.targets, clean, found, len(features.classes))
    errors = {name: 100 * (classes != asked.targets[:, None]).mean(axis=0) for name, classes in found.items()}
    rounded = {name: np.round(values, 4).tolist() for name, values in errors.items()}
    details = {"corruption_errors": rounded, "head": judge.details, "images": len(asked)}
    return Predictions(table, judge.how, judge.held_out, details)


def _large_enough(protocol: CorruptionSettings, backbone: Backbone) -> None:
    if min(backbone.preprocessing.size) < SMALLEST:
        found = "x".join(map(str, backbone.preprocessing.size))
        raise NotApplicable(f"images of {SMALLEST} pixels a side", found, "choose another size")


PART = Part(
    settings=CorruptionSettings,
    protocols=(
        CorruptionSettings(
            name="robust/corruptions", summary="the 15 corruptions of ImageNet-C at 5 severities, on any dataset"
        ),
        CorruptionSettings(
            name=f"robust/corruptions@n={SUBSET}", n=SUBSET, summary=f"the same on {SUBSET} reported images"
        ),
    ),
    predict=predict_corrupted,
    scorer="corruptions",
    headline="mean_error",
    check_encoder=_large_enough,
)
