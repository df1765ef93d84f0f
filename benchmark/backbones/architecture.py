"""An architecture by name: `NAME?key=value` of timm, `torchvision:NAME`, or `python:MODULE:FACTORY`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.classifier import remove_classifier
from benchmark.backbones.modules import ModuleBackbone
from benchmark.backbones.options import Value, split_options, written
from benchmark.backbones.python_factory import build_from_factory
from benchmark.backbones.timm_models import TimmBackbone, bound_to_size, build_timm, input_size
from benchmark.backbones.torchvision_models import TorchvisionVit, build_torchvision
from benchmark.errors import BackboneError

NORM_EPS = "norm_eps"  # an option of every architecture: the epsilon of its layer norms

Family = Literal["timm", "torchvision", "python"]


@dataclass(frozen=True)
class Architecture:
    """What to build.

    Attributes:
        family: who builds it.
        name: in that family.
        options: keyword arguments.
    """

    family: Family
    name: str
    options: Mapping[str, Value] = field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> Architecture:
        """Reads `--arch`.

        Raises:
            BackboneError: options that are none.
        """
        name, options = split_options(text)
        for family in ("torchvision", "python", "timm"):
            if name.startswith(f"{family}:"):
                return Architecture(family, name.removeprefix(f"{family}:"), options)
        return Architecture("timm", name, options)

    @property
    def canonical(self) -> str:
        """The architecture as results name it: no folder of this machine in it, options sorted."""
        name = self.name
        if self.family == "python":
            place, _, factory = name.rpartition(":")
            name = f"{PurePath(place).name if place.endswith('.py') else place}:{factory}"
        prefix = "" if self.family == "timm" else f"{self.family}:"
        return f"{prefix}{name}{written(dict(self.options))}"

    @property
    def identity(self) -> str:
        """What of it is hashed: without the tag of timm's published weights."""
        if self.family != "timm":
            return self.canonical
        return self.name.partition(".")[0] + written(dict(self.options))

    def build(self, seed: int = 0, blank: bool = False) -> nn.Module:
        """The network with its classifier and fresh weights, which depend on the seed alone.

        `blank` leaves the parameters as the memory happened to be, for a network whose every parameter is filled next:
        drawing those of a large one takes longer than reading them.

        Raises:
            BackboneError: an unknown name or argument, or a factory that fails.
        """
        options = dict(self.options)
        eps = options.pop(NORM_EPS, None)
        with torch.random.fork_rng(devices=[]), _Blank() if blank else contextlib.nullcontext():
            torch.manual_seed(seed)
            if self.family == "timm":
                module = build_timm(self.name, options)
            elif self.family == "torchvision":
                module = build_torchvision(self.name, options)
            else:
                module = build_from_factory(self.name, options).float()
        if eps is not None:
            _set_eps(module, eps)
        return module

    def for_size(self, size: tuple[int, int]) -> Architecture:
        """The same architecture for images (h, w), where it takes an `img_size` and none was asked for."""
        if self.family != "timm" or "img_size" in self.options:
            return self
        module = self.build(blank=True)
        if not bound_to_size(module) or self.size_of(module) == size:  # XCiT computes what depends on the size
            return self
        value: Value = size[0] if size[0] == size[1] else size
        return Architecture(self.family, self.name, {**self.options, "img_size": value})

    def size_of(self, module: nn.Module) -> tuple[int, int]:
        """(h, w) of the images that the network was built for; 224 where nothing says it."""
        if self.family == "torchvision":
            if isinstance(module, torchvision.models.VisionTransformer):
                return module.image_size, module.image_size
            crop = torchvision.models.get_model_weights(self.name).DEFAULT.transforms().crop_size[0]
            return crop, crop
        return input_size(module, self.options)


class _Blank(TorchFunctionMode):
    """Within it, nothing that initialises a parameter in place has an effect."""

    _FILLS = frozenset(
        getattr(torch.Tensor, name)
        for name in ("normal_", "uniform_", "erfinv_", "mul_", "add_", "clamp_", "div_", "zero_", "fill_", "copy_")
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Passes every call on but those, and those of `torch.nn.init`, which arrive whole."""
        kwargs = kwargs or {}
        if func in self._FILLS or getattr(func, "__module__", "") == "torch.nn.init":
            target = args[0] if args else kwargs.get("tensor")
            if isinstance(target, nn.Parameter):
                return target
        return func(*args, **kwargs)


def _set_eps(module: nn.Module, eps: Value) -> None:
    norms = [part for part in module.modules() if isinstance(part, nn.LayerNorm)]
    if not isinstance(eps, float) or not norms:
        found = f"{NORM_EPS}={eps}" + ("" if norms else " for a network without any")
        raise BackboneError("the epsilon of layer norms as a number", found, f"write {NORM_EPS}=1e-12, or leave it out")
    for norm in norms:
        norm.eps = eps


def wrap(module: nn.Module, paths: tuple[str, ...], **facts: Any) -> Backbone:
    """The backbone of a network whose classifier, at `paths`, is not needed any more.

    Args:
        module: the network; its classifier is replaced by an identity, if it is still there.
        paths: from `find_classifier`.
        facts: as `Backbone` takes them.

    Raises:
        BackboneError: the network does not take such images, or gives nothing usable.
    """
    remove_classifier(module, paths)
    if len(paths) > 1:  # several classifiers are averaged, or look at different features: no one linear head
        facts["head"] = None
    if all(callable(getattr(module, name, None)) for name in ("forward_features", "forward_head")):
        return TimmBackbone(module, **facts)
    if isinstance(module, torchvision.models.VisionTransformer):
        return TorchvisionVit(module, **facts)
    return ModuleBackbone(module, classifier=paths[0] if paths else None, **facts)
