"""Encoders from torchvision: building them by name, the transforms of their weights, and its vision transformer."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from benchmark.backbones.backbone import Backbone, Offer
from benchmark.backbones.features import Raw
from benchmark.backbones.modules import watched
from benchmark.backbones.options import Value
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import BackboneError, nearest

# The networks that Google trained on pixels in [-1, 1]: torchvision's weights expect them to convert from ImageNet's.
_CONVERTING = {"googlenet": {"transform_input": True}, "inception_v3": {"transform_input": True}}


def build_torchvision(name: str, options: Mapping[str, Value]) -> nn.Module:
    """A torchvision classification model with its classifier and fresh weights.

    Raises:
        BackboneError: an unknown name or argument.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise BackboneError("a torchvision classification model", repr(name), nearest(name, known))
    if wrong := sorted(set(options) & {"weights", "num_classes", "progress"}):
        raise BackboneError("arguments of the architecture", repr(wrong[0]), "leave it out: the harness sets it")
    quiet = {"init_weights": True} if name in _CONVERTING and "init_weights" not in options else {}
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=None, **{**quiet, **options})
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise BackboneError(f"arguments of {name}", f"{type(error).__name__}: {error}", "correct them") from error
    return model


def load_torchvision(name: str, weights: str, options: Mapping[str, Value]) -> tuple[nn.Module, Preprocessing, str]:
    """A torchvision model with published weights, their preprocessing, and the weights' full name.

    Raises:
        BackboneError: unknown weights, or weights neither in the cache nor reachable.
    """
    model = build_torchvision(name, {**_CONVERTING.get(name, {}), **options})
    entries = torchvision.models.get_model_weights(name).__members__
    if weights not in entries:
        raise BackboneError(f"weights of torchvision's {name}", repr(weights), nearest(weights, entries))
    entry = entries[weights]
    try:
        # weights_only: reading the file must not run it, although it comes from torchvision.
        state = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise BackboneError(
            f"weights {name}/{entry.name} in torch's hub cache, or a network to fetch them",
            f"{type(error).__name__}: {str(error)[:160]}",
            "go online once, or give a weights file and --arch",
        ) from error
    if name.startswith("densenet"):  # its files precede a renaming: norm.1.weight is norm1.weight today
        state = {
            re.sub(r"(denselayer\d+)\.(norm|conv)\.(\d)\.", r"\1.\2\3.", key): value for key, value in state.items()
        }
    model.load_state_dict(state, strict=True)
    return model, card_preprocessing(entry, f"{name}/{entry.name}"), f"{name}/{entry.name}"


def card_preprocessing(entry: torchvision.models.WeightsEnum, name: str) -> Preprocessing:
    """The evaluation transform that torchvision states for its weights."""
    card = entry.transforms()
    crop, resize = card.crop_size[0], card.resize_size[0]
    return Preprocessing(
        size=(crop, crop),
        crop_pct=crop / resize,
        interpolation=card.interpolation.value,
        mean=tuple(card.mean),
        std=tuple(card.std),
        source=f"torchvision transforms of {name}",
    )


class TorchvisionVit(Backbone):
    """torchvision's vision transformer: one class token, a final norm inside of `encoder`, no registers."""

    module: VisionTransformer

    def _probe(self, x: Tensor) -> Offer:
        self._blocks = [f"encoder.layers.{name}" for name, _ in self.module.encoder.layers.named_children()]
        self._side = (x.shape[2] // self.module.patch_size, x.shape[3] // self.module.patch_size)
        output = self.module(x)
        width = self.module.hidden_dim
        names = {"cls": 1, "avg": 1, "cls+avg": 2, **({"last4": 4} if len(self._blocks) >= 4 else {}), "patch": 1}
        direct = output.shape[1] == width and len(self.module.heads) == 1  # else a projection precedes the classifier
        reason = "a vision transformer with a class token behind its final norm"
        return Offer(
            {n: k * width for n, k in names.items()}, "cls", reason, len(self._blocks), "cls" if direct else None
        )

    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        depth = len(self._blocks)
        wanted = sorted({*layers, depth - 1, *(range(depth - 4, depth) if "last4" in names else ())})
        outputs: dict[str, Tensor] = {}
        with watched(self.module, [self._blocks[i] for i in wanted], None, outputs.__setitem__):
            self.module(x)
        normed = {i: self.module.encoder.ln(outputs[self._blocks[i]]) for i in wanted}
        final = normed[depth - 1]
        found = {"cls": final[:, 0], "avg": final[:, 1:].mean(1)}
        found["cls+avg"] = torch.cat([found["cls"], found["avg"]], dim=1)
        if "last4" in names:
            found["last4"] = torch.cat([normed[i][:, 0] for i in range(depth - 4, depth)], dim=1)
        maps = {i: normed[i][:, 1:].transpose(1, 2).unflatten(2, self._side) for i in layers}
        return Raw({name: found[name] for name in names}, maps)

    def _bare_maps(self, x: Tensor, layers: tuple[int, ...]) -> dict[int, Tensor]:
        outputs: dict[str, Tensor] = {}
        with watched(self.module, [self._blocks[i] for i in layers], None, outputs.__setitem__):
            self.module(x)
        return {i: outputs[self._blocks[i]][:, 1:].transpose(1, 2).unflatten(2, self._side) for i in layers}
