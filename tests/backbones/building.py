"""Small backbones for the tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmark.backbones.architecture import wrap
from benchmark.backbones.backbone import Backbone, Offer, Origin
from benchmark.backbones.classifier import find_classifier, take_head
from benchmark.backbones.execution import Execution, plan_execution
from benchmark.backbones.features import Raw
from benchmark.backbones.preprocessing import Preprocessing

PLAIN = Preprocessing(size=(32, 32), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def backbone_of(module: nn.Module, preprocessing: Preprocessing, execution: Execution | None = None) -> Backbone:
    """A module as a backbone, with its classifier as head."""
    paths = find_classifier(module)
    head = take_head(module, paths)
    execution = execution or plan_execution("cpu")
    origin = Origin("test")
    return wrap(module, paths, arch="test", preprocessing=preprocessing, execution=execution, origin=origin, head=head)


def pixels(batch: int, size: int, seed: int = 0) -> Tensor:
    """(B, 3, size, size) uint8 noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 3, size, size), generator=generator, dtype=torch.uint8)


class Echo(Backbone):
    """A backbone whose features are its input: shows what `encode` feeds to the hook."""

    def _probe(self, x: Tensor) -> Offer:
        return Offer({"gap": x[0].numel(), "patch": 3}, "gap", "the input itself", 1, None)

    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        return Raw({"gap": x.flatten(1)} if "gap" in names else {}, dict.fromkeys(layers, x))


def echo(preprocessing: Preprocessing = PLAIN, kind: type[Echo] = Echo, **changes: Any) -> Echo:
    """An `Echo` under a preprocessing."""
    facts = {"arch": "echo", "execution": plan_execution("cpu"), "origin": Origin("test"), **changes}
    return kind(nn.Identity(), preprocessing=preprocessing, **facts)
