"""The robustness task: which protocols there are."""

from __future__ import annotations

from typing import ClassVar

from benchmark.backbones.backbone import Backbone
from benchmark.errors import NotApplicable
from benchmark.protocol import ProtocolSettings
from benchmark.task import Predictions, ShiftInputs, Task
from tasks.corruptions.corrupt import SMALLEST
from tasks.robustness.corrupted import CorruptionSettings, predict_corrupted

SUBSET = 1000
"""Reported images of a protocol that names its sub-sample."""


class Robustness(Task):
    """Accuracy on changed images, by the head that the linear task fits on clean features.

    The head never sees a changed image, so differences between checkpoints are the representation's.
    """

    name = "robustness"
    summary = "errors on corrupted images, by the linear head of clean features"
    needs = ("pooled", "backbone")
    scorer = "corruptions"
    headline = "mean_error"
    protocols: ClassVar = {
        "robust/corruptions": CorruptionSettings(
            name="robust/corruptions", summary="the 15 corruptions of ImageNet-C at 5 severities, on any dataset"
        ),
        f"robust/corruptions@n={SUBSET}": CorruptionSettings(
            name=f"robust/corruptions@n={SUBSET}", n=SUBSET, summary=f"the same on {SUBSET} reported images"
        ),
    }

    def check_encoder(self, protocol: ProtocolSettings, backbone: Backbone) -> None:
        """Whether images at the encoder's size can be corrupted.

        Raises:
            NotApplicable: they are too small.
        """
        if min(backbone.preprocessing.size) < SMALLEST:
            found = "x".join(map(str, backbone.preprocessing.size))
            raise NotApplicable(f"images of {SMALLEST} pixels a side", found, "choose another size")

    def predict(self, inputs: ShiftInputs, protocol: CorruptionSettings, seed: int) -> Predictions:
        """Fits the head on train and predicts the reported images under every change."""
        return predict_corrupted(inputs, protocol, seed)
