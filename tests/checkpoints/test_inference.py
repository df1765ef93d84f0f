"""Architectures read from tensors: what is inferred has the same tensors, and what no shape says is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torchvision.models import get_model

from benchmark.backbones.architecture import Architecture
from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.encoder import find_encoder
from benchmark.checkpoints.inference.infer import infer
from benchmark.checkpoints.inference.inferred import Inferred
from benchmark.errors import CheckpointError

Saved = Callable[[Any], Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(content: Any) -> Path:
        torch.save(content, tmp_path / "file.pth")
        return tmp_path / "file.pth"

    return save


def inferred(path: Path, layout: str | None = None) -> Inferred:
    archive = open_archive(path)
    return infer(archive, find_encoder(archive, layout=layout))


def state_of(name: str, **options: Any) -> dict[str, Tensor]:
    """Weights that take no room: every tensor is one number, expanded."""
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in timm.create_model(name, **options).state_dict().items()}
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def encoder_of(name: str, state: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Shapes without the classifier."""
    card = timm.get_pretrained_cfg(name)
    assert card is not None
    classifier = card.classifier or "head"
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return {key: tensor.shape for key, tensor in state.items() if not key.startswith(tuple(f"{h}." for h in heads))}


@pytest.mark.parametrize(("name", "options", "arch"), [
    ("resnet18", {}, "resnet18"),
    ("resnet50", {}, "resnet50"),
    ("wide_resnet50_2", {}, "wide_resnet50_2"),
    ("resnext101_32x8d", {}, "resnext101_32x8d"),
    ("convnext_tiny", {}, "convnext_tiny"),
    ("convnextv2_atto", {}, "convnextv2_atto"),
    ("swin_tiny_patch4_window7_224", {}, "swin_tiny_patch4_window7_224"),
    ("regnety_032", {}, "regnety_032"),
    ("densenet121", {}, "densenet121"),
    ("tiny_vit_5m_224", {}, "tiny_vit_5m_224"),
    ("vit_base_patch16_224", {}, "vit_base_patch16_224"),
    ("vit_base_patch16_224", {"img_size": 384, "num_classes": 0}, "vit_base_patch16_224?img_size=384"),
    ("vit_base_patch16_224", {"global_pool": "avg"}, "vit_base_patch16_224?global_pool=avg"),
    ("vit_base_patch8_224", {}, "vit_base_patch8_224"),
    ("vit_large_patch14_224", {}, "vit_large_patch14_224"),
    ("vit_huge_patch14_224", {}, "vit_huge_patch14_224"),
    ("vit_base_patch16_224", {"qkv_bias": False, "init_values": 0.1, "class_token": False, "global_pool": "avg",
                              "fc_norm": False}, None),
    ("vit_base_patch16_siglip_224", {}, None),
    ("deit3_small_patch16_224", {}, None),
    ("vit_base_patch14_reg4_dinov2", {}, None),
    ("vit_giant_patch14_dinov2", {"depth": 40}, None),
    ("beit_base_patch16_224", {}, "beit_base_patch16_224"),
    ("beit_base_patch16_224", {"use_fc_norm": False, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}, None),
    ("vit_base_patch16_224", {"patch_size": 20, "embed_dim": 512, "num_heads": 8, "depth": 3, "img_size": 80}, None),
])  # fmt: skip
def test_what_is_inferred_has_the_tensors_of_what_was_saved(
    name: str, options: dict[str, Any], arch: str | None, saved: Saved
) -> None:
    state = state_of(name, **options)
    found = inferred(saved(state))
    if arch is not None:
        assert found.arch == arch
    what = Architecture.parse(found.arch)
    with torch.device("meta"):
        built = timm.create_model(what.name, **what.options)
    assert encoder_of(name, built.state_dict()) == encoder_of(name, state)


def test_heads_that_no_shape_says_are_asked_for(saved: Saved) -> None:
    angles = torch.rand(1, 197, 192, generator=torch.Generator().manual_seed(0))
    table = torch.cat([angles.sin(), angles.cos()], dim=-1)  # as MoCo v3 has it: fixed, of sines and cosines
    path = saved({**state_of("vit_small_patch16_224"), "pos_embed": table})
    with pytest.raises(CheckpointError, match="num_heads=6 or num_heads=12"):
        inferred(path)
    headless = {name: value for name, value in state_of("vit_small_patch16_224").items() if name[:5] != "head."}
    assert inferred(saved({**headless, "pos_embed": table}), "dino-backbone").arch == "vit_small_patch16_224"
    learned = inferred(saved({**state_of("vit_small_patch16_224"), "pos_embed": angles.repeat(1, 1, 2)}))
    assert (learned.arch, "6 heads" in learned.notes[0]) == ("vit_small_patch16_224", True)


def test_what_the_file_names_decides_between_equals_and_nothing_else(saved: Saved) -> None:
    state = state_of("tf_efficientnet_b0")
    with pytest.raises(CheckpointError, match=r"efficientnet_b0.*--arch"):
        inferred(saved(state))
    assert inferred(saved({"state_dict": state, "arch": "tf_efficientnet_b0", "epoch": 1})).arch == "tf_efficientnet_b0"
    small = state_of("vit_small_patch16_224")
    assert inferred(saved({"state_dict": small, "arch": "vit_small_patch16_224"})).arch == "vit_small_patch16_224"
    with pytest.raises(CheckpointError, match="efficientnet_b0"):
        inferred(saved({"state_dict": state, "arch": "resnet50"}))


def test_torchvisions_own_names_are_known(saved: Saved) -> None:
    for name in ("regnet_y_400mf", "regnet_x_400mf"):
        state = {k: torch.zeros(()).expand(t.shape) for k, t in get_model(name, weights=None).state_dict().items()}
        assert inferred(saved(state)).arch == f"torchvision:{name}"


def test_padding_is_not_guessed(saved: Saved) -> None:
    state = state_of("mobilenetv2_100")
    with pytest.raises(CheckpointError, match=r"padding.*--arch 'mobilenetv2_100\?pad_type=same'"):
        inferred(saved(state))
    assert inferred(saved({"state_dict": state, "arch": "mobilenetv2_100"})).arch == "mobilenetv2_100"


def test_the_tower_of_clip_is_not_guessed(saved: Saved) -> None:
    with pytest.raises(CheckpointError, match=r"epsilon and activation.*clip_quickgelu"):
        inferred(saved(state_of("vit_base_patch16_clip_224")))


@pytest.mark.parametrize(("lost", "message"), [
    ("blocks.11.", "12 blocks, as published transformers of width 768 have; found 11"),
    ("blocks.5.", "no blocks.5"),
])  # fmt: skip
def test_a_missing_block_stops(lost: str, message: str, saved: Saved) -> None:
    state = {name: tensor for name, tensor in state_of("vit_base_patch16_224").items() if not name.startswith(lost)}
    with pytest.raises(CheckpointError, match=message):
        inferred(saved(state))


def test_a_dinov3_without_its_last_block_stops(saved: Saved) -> None:
    state = {name: tensor for name, tensor in state_of("vit_small_patch16_dinov3").items() if ".11." not in name}
    with pytest.raises(CheckpointError, match="12 blocks, as DINOv3's"):
        inferred(saved({**state, "rope.periods": torch.ones(16)}))


def test_a_residual_network_without_its_last_block_stops(saved: Saved) -> None:
    state = {name: tensor for name, tensor in state_of("resnet50").items() if not name.startswith("layer4.2.")}
    with pytest.raises(CheckpointError, match=r"3-4-6-2 bottleneck blocks.*blocks=\(3,4,6,2\)"):
        inferred(saved(state))


def test_a_small_stem_needs_to_be_told(saved: Saved) -> None:
    state = {**state_of("resnet18"), "conv1.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(CheckpointError, match=r"3 x 3 stem.*stem=cifar.*stem=stl"):
        inferred(saved(state))


def test_only_a_head_is_no_encoder(saved: Saved) -> None:
    with pytest.raises(CheckpointError):
        inferred(saved({"head.weight": torch.zeros(10, 768), "head.bias": torch.zeros(10)}))


def test_widened_networks_are_built_from_parts(saved: Saved) -> None:
    with torch.device("meta"):
        wide = Architecture.parse("python:benchmark.backbones.networks:resnet?depth=50&widen=2").build()
    shapes = {key: torch.zeros(()).expand(tensor.shape) for key, tensor in wide.state_dict().items()}
    assert inferred(saved(shapes)).arch == "python:benchmark.backbones.networks:resnet?depth=50&widen=2"
