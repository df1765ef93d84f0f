"""The robustness task: which protocols there are."""

from __future__ import annotations

from typing import ClassVar

from benchmark.backbones.backbone import Backbone
from benchmark.data.imagenet import imagenet_positions
from benchmark.errors import NotApplicable
from benchmark.protocol import HeadSettings, ProtocolSettings
from benchmark.task import Labels, Need, Predictions, ShiftInputs, Task
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

    def needs_of(self, protocol: ProtocolSettings) -> tuple[Need, ...]:
        """Features and the encoder, and the checkpoint's own head where the protocol judges by it."""
        own = isinstance(protocol, HeadSettings) and protocol.head == "own"
        return (*self.needs, "head") if own else self.needs

    def reads_train(self, protocol: ProtocolSettings) -> bool:
        """Not where the checkpoint's own head judges."""
        return not (isinstance(protocol, HeadSettings) and protocol.head == "own")

    def check(self, protocol: ProtocolSettings, labels: Labels) -> None:
        """Whether images have one label each, and a head of ImageNet knows the classes where it is to judge.

        Raises:
            NotApplicable: they have several, or it does not.
        """
        super().check(protocol, labels)
        if not self.reads_train(protocol):
            imagenet_positions(labels.classes)

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
