"""Pyramids that DINO trained (SurgeNet): CAFormer, ConvNeXt V2 and PVT v2 in the names of their authors."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.networks import caformer_relu
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_distilled import (
    State,
    Write,
    assert_vector,
    built,
    dino_file,
    randomised,
    renamed,
    write,
)

__all__ = ["write"]  # a fixture
STAGES = ((r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."), (r"\.blocks\.", "."), (r"^head\.norm\.", "norm."))


def caformer_names(net: nn.Module) -> State:
    """The authors' names, with linear layers where timm has 1 x 1 convolutions."""
    rules = ((r"^stem\.norm\.", "downsample_layers.0.post_norm."), (r"^stem\.", "downsample_layers.0."))
    norms = ((r"^(downsample_layers\.\d)\.norm\.", r"\1.pre_norm."), (r"^head\.fc\.", "head."))
    state = renamed(net.state_dict(), *rules, *STAGES, *norms)
    return {name: value.flatten(1) if value.shape[2:] == (1, 1) else value for name, value in state.items()}


def vector(net: nn.Module, x: Tensor) -> Tensor:
    """(B, C): the pooled and normalised last map."""
    result: Tensor = net.forward_head(net.forward_features(x), pre_logits=True)  # type: ignore[operator]
    return result


@pytest.fixture(scope="module")
def rectified() -> nn.Module:
    with torch.device("meta"):
        net = caformer_relu()
    return randomised(net.to_empty(device="cpu"))


def without_classifier(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("head.")}


@pytest.mark.parametrize("full", [True, False])
def test_surgenets_caformer_has_plain_rectifiers(write: Write, rectified: nn.Module, full: bool) -> None:
    state = without_classifier(caformer_names(rectified))
    student = {name: value + 1 for name, value in state.items()}
    backbone = open_backbone(str(write(dino_file(student, state) if full else state)), preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.default_representation) == ("surgenet", "gap")
    assert backbone.origin.key == ("teacher.backbone" if full else None)
    assert backbone.head is None
    assert_vector(backbone, "gap", lambda x: vector(rectified, x))


def test_the_published_caformer_keeps_its_own_activation_and_classifier(write: Write) -> None:
    with torch.device("meta"):
        empty = timm.create_model("caformer_s18")
    net = randomised(empty.to_empty(device="cpu"))
    backbone = open_backbone(str(write(caformer_names(net))), preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.arch) == ("caformer", "caformer_s18")
    assert_vector(backbone, "gap", lambda x: vector(net, x))


def test_a_caformer_without_a_block_is_refused(write: Write, rectified: nn.Module) -> None:
    state = without_classifier(caformer_names(rectified))
    path = write({name: value for name, value in state.items() if not name.startswith("stages.2.3.")})
    with pytest.raises(CheckpointError, match=r"stages\.2\.blocks\.3"):
        open_backbone(str(path))


def test_dinos_convnext_is_the_teachers(write: Write) -> None:
    net = built("convnextv2_tiny")
    blocks = ((r"\.conv_dw\.", ".dwconv."), (r"\.mlp\.fc(\d)\.", r".pwconv\1."))
    grn = ((r"\.mlp\.grn\.weight$", ".grn.gamma"), (r"\.mlp\.grn\.bias$", ".grn.beta"))
    state = renamed(net.state_dict(), (r"^stem\.", "downsample_layers.0."), *STAGES, *blocks, *grn)
    state = {name: value[None, None, None] if ".grn." in name else value for name, value in state.items()}
    student = {name: value + 1 for name, value in state.items()}
    backbone = open_backbone(str(write(dino_file(student, state))), preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.arch) == ("dino-convnext", "convnextv2_tiny")
    assert backbone.origin.key == "teacher.backbone"
    assert_vector(backbone, "gap", lambda x: vector(net, x))


def pvt_names(net: nn.Module) -> State:
    rules = [(r"^patch_embed\.", "patch_embed1."), (r"\.dwconv\.", ".dwconv.dwconv.")]
    for stage in range(4):
        rules += [(rf"^stages\.{stage}\.downsample\.", f"patch_embed{stage + 1}.")]
        rules += [(rf"^stages\.{stage}\.blocks\.", f"block{stage + 1}.")]
        rules += [(rf"^stages\.{stage}\.norm\.", f"norm{stage + 1}.")]
    return renamed(net.state_dict(), *rules)


@pytest.mark.parametrize("full", [True, False])
def test_pvt_v2_comes_in_its_authors_names(write: Write, full: bool) -> None:
    net = built("pvt_v2_b0")
    state = pvt_names(net)
    student = {name: value + 1 for name, value in state.items()}
    path: Path = write(dino_file(student, state) if full else {**state, "head.weight": torch.randn(5, 256)})
    backbone = open_backbone(str(path), preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.arch) == ("pvt-v2", "pvt_v2_b0")
    assert_vector(backbone, "gap", lambda x: vector(net, x))
