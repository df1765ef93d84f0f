"""Where the supervised classifier of a module sits, and taking it off: an encoder never calls it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from benchmark.errors import BackboneError

# Attribute names of the last layer in torchvision, timm and the published training scripts, in the order tried.
NAMES = ("fc", "head", "classifier", "heads", "linear", "last_linear")
_LEARNED = (nn.Linear, nn.Conv1d, nn.Conv2d)


def find_classifier(module: nn.Module) -> tuple[str, ...]:
    """Paths of the classifier (several for distilled transformers), or () where there is none.

    timm models say it themselves (`get_classifier`); elsewhere it is the last learned layer of `fc`, `head`,
    `classifier` or `heads`.
    """
    declared: Any = getattr(module, "get_classifier", None)
    if callable(declared):
        found = declared()
        parts: Iterable[nn.Module | None] = found if isinstance(found, (tuple, list, nn.ModuleList)) else (found,)
        wanted = [id(part) for part in parts if part is not None and any(True for _ in part.parameters())]
        paths = [path for path, part in module.named_modules() if id(part) in wanted and path]
        card = (getattr(module, "pretrained_cfg", None) or {}).get("classifier") or ()
        for name in (card,) if isinstance(card, str) else card:  # VOLO's auxiliary classifier is on the card only
            below = any(f"{name}.".startswith(f"{path}.") or f"{path}.".startswith(f"{name}.") for path in paths)
            if not below and any(key.startswith(f"{name}.") for key in module.state_dict(keep_vars=True)):
                paths.append(name)
        return tuple(paths)
    for name in NAMES:
        top = getattr(module, name, None)
        if not isinstance(top, nn.Module):
            continue
        learned = [path for path, part in top.named_modules(prefix=name) if isinstance(part, _LEARNED)]
        if learned:
            return (learned[-1],)
    return ()


def projects(module: nn.Module, path: str) -> bool:
    """Whether the sequence that ends in the classifier has other learned layers before it (VGG, MobileNetV3)."""
    parent, _, _ = path.rpartition(".")
    if not parent:
        return False
    others = [part for part in module.get_submodule(parent).modules() if isinstance(part, _LEARNED)]
    return any(part is not module.get_submodule(path) for part in others)


def take_head(module: nn.Module, paths: Sequence[str]) -> tuple[Tensor, Tensor | None] | None:
    """Weight (C, D) and bias (C,) of the classifier; None where it is not one linear layer."""
    if len(paths) != 1:
        return None
    layer = module.get_submodule(paths[0])
    pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
    if not (isinstance(layer, nn.Linear) or pointwise):
        return None
    weight = layer.get_parameter("weight").detach().flatten(1).clone()
    bias = None if layer.bias is None else layer.get_parameter("bias").detach().clone()
    return weight, bias


def remove_classifier(module: nn.Module, paths: Sequence[str]) -> None:
    """Replaces the classifier by an identity, so that the encoder's state dict has no key of it.

    Raises:
        BackboneError: another part of the module shares the classifier's parameters.
    """
    for path in paths:
        parent, _, leaf = path.rpartition(".")
        owner = module.get_submodule(parent)
        shared = {id(parameter) for parameter in owner.get_submodule(leaf).parameters()}
        setattr(owner, leaf, nn.Identity())
        if shared & {id(parameter) for parameter in module.parameters()}:
            raise BackboneError(
                "a classifier with parameters of its own", f"{path!r} shares them with the encoder", "untie them"
            )
