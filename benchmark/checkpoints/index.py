"""Makes the architecture index again: `python -m benchmark.checkpoints.index`.

Builds every timm and torchvision classification model on the meta device (no memory, no initialisation) and stores the
names and shapes of its tensors. Nothing else of the harness imports this module.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn

from benchmark.checkpoints.architecture import INDEX, Shape, shapes_by_name, write

CLASSES = 1000


def classifier_keys(model: nn.Module) -> set[str]:
    """The parameters of the model's classifier, which a file with other classes has in other shapes."""
    declared = getattr(model, "default_cfg", {}).get("classifier")
    if declared:
        names = [declared] if isinstance(declared, str) else list(declared)
        return {key for key in model.state_dict() if any(key.startswith(f"{name}.") for name in names)}
    last = [
        name
        for name, module in model.named_modules()
        if getattr(module, "out_features", getattr(module, "out_channels", None)) == CLASSES
    ]
    return {f"{name}.{leaf}" for name in last for leaf in ("weight", "bias")}


def tensors(build: Callable[[], nn.Module]) -> dict[str, Shape]:
    """The shapes by name of what `build` makes, without its classifier."""
    try:
        with torch.device("meta"):
            model = build()
    except NotImplementedError:  # torchvision's RegNets compute their widths with tensors
        model = build()
    skip = classifier_keys(model)
    return shapes_by_name({key: value for key, value in model.state_dict().items() if key not in skip})


def collect(
    builders: Iterable[tuple[str, Callable[[], nn.Module]]],
) -> tuple[dict[str, dict[str, Shape]], dict[str, str]]:
    """The tensors of each network by name, and for those that could not be built the reason."""
    networks: dict[str, dict[str, Shape]] = {}
    failed: dict[str, str] = {}
    for name, build in builders:
        try:
            networks[name] = tensors(build)
        except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, ImportError) as error:
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return networks, failed


def builders() -> list[tuple[str, Callable[[], nn.Module]]]:
    """Every timm architecture, then every torchvision classifier."""
    ours: list[tuple[str, Callable[[], nn.Module]]] = [
        (name, partial(timm.create_model, name, pretrained=False)) for name in timm.list_models()
    ]
    theirs: list[tuple[str, Callable[[], nn.Module]]] = [
        (f"torchvision:{name}", partial(torchvision.models.get_model, name, weights=None))
        for name in torchvision.models.list_models(module=torchvision.models)
    ]
    return ours + theirs


def main() -> None:
    """Builds the index beside this module and says what it left out."""
    warnings.simplefilter("ignore")
    start = time.monotonic()
    networks, failed = collect(builders())
    path = Path(__file__).with_name(INDEX)
    write(path, networks)
    for name, reason in failed.items():
        print(f"left out {name}: {reason}")
    print(f"{len(networks)} architectures, {path.stat().st_size / 1e3:.0f} kB, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
