"""The same network with a finer last map: strides become dilations, the weights stay (DeepLab's a-trous trick)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from benchmark.backbones.architecture import Architecture, wrap
from benchmark.backbones.backbone import Backbone
from benchmark.backbones.classifier import find_classifier, remove_classifier
from benchmark.backbones.encoder import Encoder
from benchmark.errors import BackboneError


def dilated(backbone: Backbone, output_stride: Literal[8, 16]) -> Backbone:
    """The encoder rebuilt so that no map is coarser than `output_stride`, with every tensor of `backbone`.

    The first block of a dilated stage keeps the dilation of the stage before it, as in torchvision's
    `replace_stride_with_dilation` and mmseg's `contract_dilation`.

    Raises:
        BackboneError: an architecture that timm cannot build so.
    """
    arch = Architecture.parse(backbone.arch)
    todo = "choose a protocol without dilation, or a network of timm that takes output_stride (ResNet, EfficientNet)"
    if arch.family != "timm":
        raise BackboneError("an architecture of timm, for dilation", backbone.arch, todo)
    finer = replace(arch, options={**arch.options, "output_stride": output_stride})
    module = finer.build(blank=True)
    paths = find_classifier(module)
    remove_classifier(module, paths)
    ours, theirs = backbone.module.state_dict(), module.state_dict()
    if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
        raise BackboneError(f"the tensors of {backbone.arch} in {finer.canonical}", "others", todo)
    module.load_state_dict(ours)
    found = wrap(
        module,
        paths,
        arch=finer.canonical,
        identity=finer.identity,
        preprocessing=backbone.preprocessing,
        execution=backbone.execution,
        origin=backbone.origin,
    )
    coarsest = max(stage.stride for stage in Encoder(found).stages)
    if coarsest > output_stride:
        raise BackboneError(f"maps of stride {output_stride} at most", f"{coarsest} from {finer.canonical}", todo)
    return found
