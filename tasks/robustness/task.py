"""The robustness task: which kinds of change there are, each a part with protocols of its own."""

from __future__ import annotations

from typing import ClassVar

from benchmark.backbones.backbone import Backbone
from benchmark.data.imagenet import imagenet_positions
from benchmark.errors import NotApplicable
from benchmark.protocol import HeadSettings, ProtocolSettings
from benchmark.task import Inputs, Labels, Need, Predictions, ShiftInputs, Task
from tasks.robustness import (
    adversarial,
    calibrated,
    colour,
    corrupted,
    cue_conflict,
    frequency,
    occlusion,
    ood,
    published,
    shifted,
)
from tasks.robustness.part import Part

PARTS: tuple[Part, ...] = (
    corrupted.PART,
    occlusion.PART,
    frequency.PART,
    colour.PART,
    calibrated.PART,
    adversarial.PART,
    published.PART,
    shifted.PART,
    cue_conflict.PART,
    ood.PART,
)


def part_of(protocol: ProtocolSettings) -> Part:
    """The part that a protocol belongs to."""
    (part,) = [part for part in PARTS if type(protocol) is part.settings]
    return part


def _by_own_head(protocol: ProtocolSettings) -> bool:
    return isinstance(protocol, HeadSettings) and protocol.head == "own"


class Robustness(Task):
    """Accuracy when the world changes, by one head that never sees a changed image.

    It is the head that the linear task fits on clean features, or the checkpoint's own, so differences between
    checkpoints are the representation's.
    """

    name = "robustness"
    summary = "what changed images do to the linear head of clean features, or to the checkpoint's own"
    needs = ("pooled", "backbone")
    scorer = "corruptions"
    headline = "mean_error"
    protocols: ClassVar = {protocol.name: protocol for part in PARTS for protocol in part.protocols}

    def needs_of(self, protocol: ProtocolSettings) -> tuple[Need, ...]:
        """What the part needs, and the checkpoint's own head where the protocol judges by it."""
        needs = part_of(protocol).needs
        return (*needs, "head") if _by_own_head(protocol) else needs

    def reads_train(self, protocol: ProtocolSettings) -> bool:
        """Not where the checkpoint's own head judges, unless the part fits something else."""
        return part_of(protocol).always_reads_train or not _by_own_head(protocol)

    def asks_shift(self, protocol: ProtocolSettings) -> bool:
        """What the part says."""
        return part_of(protocol).asks_shift

    def reads_shifted(self, protocol: ProtocolSettings) -> bool:
        """What the part says."""
        return part_of(protocol).reads_shifted

    def scorer_of(self, protocol: ProtocolSettings, multilabel: bool) -> str:
        """The part's."""
        return part_of(protocol).scorer

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """The part's."""
        headline = part_of(protocol).headline
        return headline if isinstance(headline, str) else headline(protocol)

    def check(self, protocol: ProtocolSettings, labels: Labels) -> None:
        """Whether images have one label each, and a head of ImageNet knows the classes where it is to judge.

        Raises:
            NotApplicable: they have several, it does not, or the part is about other images.
        """
        super().check(protocol, labels)
        if _by_own_head(protocol):
            imagenet_positions(labels.classes)
        part = part_of(protocol)
        if labels.shift is not None and bool(labels.shift.variants) != part.asks_variants:
            theirs, others = "changed versions of the clean images (imagenet-c:ROOT)", "images from elsewhere"
            raise NotApplicable(*((theirs, others) if part.asks_variants else (others, theirs)), "see --shift")
        part.check_labels(protocol, labels)

    def check_encoder(self, protocol: ProtocolSettings, backbone: Backbone) -> None:
        """Whether images at the encoder's size can be changed so.

        Raises:
            NotApplicable: they cannot.
        """
        part_of(protocol).check_encoder(protocol, backbone)

    def predict(self, inputs: ShiftInputs | Inputs, protocol: ProtocolSettings, seed: int) -> Predictions:
        """Fits the head on train and judges changed images by it."""
        return part_of(protocol).predict(inputs, protocol, seed)
