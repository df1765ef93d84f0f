"""The one classifier that judges every change: the linear task's head, class means, or the checkpoint's own head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmark.backbones.backbone import Backbone, Head
from benchmark.data.imagenet import imagenet_positions
from benchmark.errors import NotApplicable
from benchmark.protocol import HeadSettings
from benchmark.task import Inputs
from tasks.logreg import LogisticSettings, fit_logistic
from tasks.nmc import class_means


class JudgeSettings(LogisticSettings, HeadSettings):
    """The head, and the images it is asked about.

    Attributes:
        n: as many reported images at most: those first in the order of a digest of their ids; None for all.
    """

    standardise: bool = True
    n: int | None = None


@dataclass(frozen=True)
class Judge:
    """A classifier of features over the classes of a dataset.

    Attributes:
        logits: (M, D) features -> (M, C).
        representation: what it stands on.
        temperature: of temperature scaling, fitted on data held out of train; None for other heads than the probe.
        how, held_out: what hyper-parameters were chosen on, and how many samples that are.
        details: JSON-able facts.
    """

    logits: Callable[[Tensor], Tensor]
    representation: str
    temperature: float | None
    how: str
    held_out: int
    details: Mapping[str, Any]

    def of_images(self, backbone: Backbone, images: Tensor, gradients: bool = False) -> Tensor:
        """(B, C) logits of (B, 3, H, W) images, uint8 or float in [0, 1], at the encoder's size.

        With `gradients`, autograd goes back to the images, see `Backbone.encode`.
        """
        features = backbone.encode(images, [self.representation], layers=0, gradients=gradients)
        return self.logits(features.global_(self.representation))


def judge_of(inputs: Inputs, protocol: JudgeSettings, seed: int) -> Judge:
    """The head that a protocol asks for; the reported split is not looked at.

    Raises:
        NotApplicable: nothing can be held out to choose the penalty; or the checkpoint has no head of its own over the
            classes of the dataset.
    """
    if protocol.head == "own":
        return _own(inputs)
    if protocol.head == "mean":
        return _mean(inputs)
    head = fit_logistic(inputs, protocol, seed)
    return Judge(
        head.logits, inputs.representation, head.temperature, head.how, head.held_out, {"head": "probe", **head.details}
    )


def own_columns(head: Head, classes: tuple[str, ...]) -> Tensor:
    """(C,) the outputs of a checkpoint's own head that stand for the classes of a dataset.

    Raises:
        NotApplicable: the head is not over ImageNet-1k, or a class is none of its thousand.
    """
    outputs = len(head.weight)
    if outputs != 1000:
        raise NotApplicable("a head over the 1,000 classes of ImageNet", f"{outputs} outputs", "use head=probe")
    return torch.tensor(imagenet_positions(classes))


def _own(inputs: Inputs) -> Judge:
    head = inputs.head
    if head is None:
        raise NotApplicable("a supervised head", "none", "use head=probe")
    columns = own_columns(head, inputs.classes)
    weight = head.weight[columns].to(inputs.device).float()
    bias = None if head.bias is None else head.bias[columns].to(inputs.device).float()
    return Judge(
        logits=lambda features: torch.nn.functional.linear(features, weight, bias),
        representation=head.representation,
        temperature=None,
        how="none",
        held_out=0,
        details={"head": "own", "outputs": len(head.weight)},
    )


def _mean(inputs: Inputs) -> Judge:
    means = class_means(inputs.train, inputs.classes)
    return Judge(
        logits=lambda features: torch.nn.functional.normalize(features, dim=1) @ means.T,
        representation=inputs.representation,
        temperature=None,
        how="none",
        held_out=0,
        details={"head": "mean"},
    )
