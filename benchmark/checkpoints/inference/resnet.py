"""Residual networks in torchvision's names: depth, width, groups and stem."""

from __future__ import annotations

from typing import Any

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

FACTORY = "python:benchmark.backbones.networks:resnet"
SELECTIVE = "python:benchmark.backbones.networks:selective_resnet"
_DEPTHS: dict[tuple[str, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18, ("basic", (3, 4, 6, 3)): 34, ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101, ("bottleneck", (3, 8, 36, 3)): 152, ("bottleneck", (3, 24, 36, 3)): 200,
}  # fmt: skip
# timm's (and torchvision's) names of what has no other stem or stride than theirs.
_NAMED = {
    (18, 1, 64): "resnet18", (34, 1, 64): "resnet34", (50, 1, 64): "resnet50", (101, 1, 64): "resnet101",
    (152, 1, 64): "resnet152", (50, 32, 4): "resnext50_32x4d", (101, 32, 4): "resnext101_32x4d",
    (101, 32, 8): "resnext101_32x8d", (101, 32, 16): "resnext101_32x16d", (101, 32, 32): "resnext101_32x32d",
    (101, 64, 4): "resnext101_64x4d", (50, 1, 128): "wide_resnet50_2", (101, 1, 128): "wide_resnet101_2",
}  # fmt: skip


def infer_resnet(query: Query) -> Inferred | None:
    """The architecture of a plain residual network, or None where these are no such tensors.

    Deep stems, averaged shortcuts and attention within blocks have timm names of their own, which the index knows.

    Raises:
        CheckpointError: a stem whose stride no shape says.
    """
    shapes, facts = query.shapes, query.facts
    stem = shapes.get("conv1.weight", ())
    if len(stem) != 4 or "layer1.0.conv2.weight" not in shapes or "bn1.running_mean" not in shapes:
        return None
    plain = ("conv1", "conv2", "conv3", "bn1", "bn2", "bn3", "downsample")
    parts = {name.split(".")[2] for name in shapes if name.startswith("layer") and name.count(".") > 2}
    if parts - set(plain) or len(shapes.get("layer2.0.downsample.0.weight", ())) != 4:
        return None
    if shapes.get("layer2.0.downsample.1.weight", (0,)) != shapes.get("layer2.0.downsample.1.bias", (1,)):
        return None
    if facts.arch:
        return Inferred(spelled(facts.arch, dict(facts.options)))
    kind = "bottleneck" if "layer1.0.conv3.weight" in shapes else "basic"
    blocks = tuple(query.count(f"layer{stage}.") for stage in range(1, 5))
    depth = _DEPTHS.get((kind, blocks))
    if depth is None and "blocks" not in facts.options:
        written = spelled(FACTORY, {"block": kind, "blocks": blocks})
        raise CheckpointError(
            "the blocks of a published residual network in every stage",
            f"{'-'.join(map(str, blocks))} {kind} blocks",
            f"take a complete file, or give --arch '{written}' if it was trained so",
        )
    middle = shapes["layer1.0.conv2.weight"]
    widen = shapes["layer1.0.conv3.weight"][0] // 256 if kind == "bottleneck" else middle[0] // 64
    groups = middle[0] // middle[1]
    base_width = middle[0] // groups if kind == "bottleneck" else 64
    per_group = base_width if groups > 1 or kind == "basic" else base_width // max(widen, 1)
    notes: list[str] = []
    options = dict(facts.options)
    for key, value in options.items():
        notes.append(f"{key} {value}: what the layout {query.layout} says")
    small = stem[2] == 3
    if small and "stem" not in options:
        raise CheckpointError(
            "what follows a 3 x 3 stem, which no shape says",
            f"{query.layout} layout: with a max-pool (STL-10 images) or without (CIFAR images)",
            f"give --layout, or --arch '{spelled(FACTORY, {'depth': depth or 0, 'stem': 'cifar'})}' or stem=stl",
        )
    name = _NAMED.get((depth or 0, groups, per_group))
    if name and widen == 1 and stem[:1] == (64,) and stem[2] == 7 and not options:
        return Inferred(name, tuple(notes))
    made: dict[str, Any] = {"depth": depth} if depth else {"block": kind}
    made |= {"widen": widen} if widen != 1 else {}
    made |= {"groups": groups} if groups != 1 else {}
    made |= {"width_per_group": per_group} if per_group != 64 else {}
    return Inferred(spelled(FACTORY, {**made, **options}), tuple(notes))


def infer_selective(query: Query) -> Inferred | None:
    """The architecture of SimCLR v2's network with selective kernels, or None where these are no such tensors."""
    stem = query.shapes.get("conv1.6.weight", ())
    mixed = query.shapes.get("layer4.0.conv2.mix.0.weight", ())
    if len(stem) != 4 or len(mixed) != 4:
        return None
    blocks = tuple(query.count(f"layer{stage}.") for stage in range(1, 5))
    options = {"blocks": blocks, "widen": stem[0] // 64, "ratio": mixed[0] / mixed[1]}
    return Inferred(spelled(SELECTIVE, {**options, **query.facts.options}))
