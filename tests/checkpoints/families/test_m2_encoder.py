"""M2-Encoder: two stacks of BEiT-3's blocks, half of whose tensors are for texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.backbones.architecture import Architecture
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_distilled import assert_tokens, randomised, renamed

FACTORY = "python:benchmark.backbones.clip_networks:beit3_fusion"
ENCODER = "backbone.encoder"
NAMES = (
    (r"^norm\.", "backbone_vl.layer_norm.A."), (r"^blocks\.8\.behind\.", f"{ENCODER}.layer_norm.A."),
    (r"^blocks\.9\.", "backbone_vl.layers.0."), (r"^blocks\.10\.", "backbone_vl.layers.1."),
    (r"^blocks\.11\.", "backbone_vl.layers.2."), (r"^blocks\.", f"{ENCODER}.layers."),
    (r"^patch_embed\.", "backbone.vision_embed."), (r"^cls_token$", "backbone.vision_embed.cls_token"),
    (r"\.attn\.proj\.", ".self_attn.out_proj.A."), (r"\.attn\.norm\.", ".self_attn.inner_attn_ln.A."),
    (r"\.norm1\.", ".self_attn_layer_norm.A."), (r"\.norm2\.", ".final_layer_norm.A."),
    (r"\.mlp\.norm\.", ".ffn.A.ffn_layernorm."), (r"\.mlp\.", ".ffn.A."),
)  # fmt: skip


def m2_state(net: nn.Module) -> dict[str, Tensor]:
    """The names of its code, with a tensor for texts beside each one for images."""
    own = net.state_dict()
    places = own.pop("pos_embed")[0]
    state = renamed(own, *NAMES)
    for name in [name for name in state if ".attn.qkv." in name]:
        for part, value in zip("qkv", state.pop(name).chunk(3), strict=True):
            state[name.replace(".attn.qkv.", f".self_attn.{part}_proj.A.")] = value.clone()
    state |= {name.replace(".A.", ".B."): torch.randn_like(value) for name, value in state.items() if ".A." in name}
    state[f"{ENCODER}.embed_positions.A.weight"] = torch.cat([torch.randn(2, 768), places])  # two rows are never read
    state[f"{ENCODER}.embed_positions.B.weight"] = torch.randn(8, 768)
    state |= {f"norm.{leaf}": torch.randn(768) for leaf in ("weight", "bias")}
    state |= {
        "backbone.vision_embed.mask_token": torch.zeros(1, 1, 768),
        "backbone.text_embed.weight": torch.randn(9, 768),
    }
    state |= {"pooler.dense.weight": torch.randn(8, 8), "itc_vl_image_proj.fc.weight": torch.randn(8, 768)}
    return state | {"logit_scale": torch.ones([]), "logit_vl_scale": torch.ones([])}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return randomised(Architecture.parse(f"{FACTORY}?img_size=64&hidden=96").build(blank=True))


@pytest.fixture(scope="module")
def state(net: nn.Module) -> dict[str, Tensor]:
    return m2_state(net)


@pytest.mark.parametrize("writer", ["lightning", "deepspeed", "bare"])
def test_m2_encoders_images_go_on_through_the_fusion(
    net: nn.Module, state: dict[str, Tensor], writer: str, tmp_path: Path
) -> None:
    content: dict[str, Any] = state
    if writer == "lightning":
        content = {"state_dict": state, "epoch": 1, "global_step": 9, "pytorch-lightning_version": "1.6"}
    if writer == "deepspeed":
        content = {"module": {f"_forward_module.{name}": value for name, value in state.items()}}
    torch.save(content, tmp_path / "m2_encoder_0.4B.ckpt")
    backbone = open_backbone(str(tmp_path / "m2_encoder_0.4B.ckpt"))
    assert (backbone.origin.layout, backbone.default_representation) == ("m2-encoder", "cls")
    assert (backbone.preprocessing.mode, backbone.preprocessing.mean) == ("squash", (0.5, 0.5, 0.5))
    assert not [name for name, reason in backbone.origin.dropped.items() if ".B." in name and reason != "text tower"]
    assert_tokens(backbone, net)


def test_m2_encoders_positions_become_means_of_areas(net: nn.Module, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "m2.ckpt")
    half = Architecture.parse(f"{FACTORY}?img_size=32&hidden=96").build(blank=True)
    places = net.get_parameter("pos_embed")
    grid = places[:, 1:].unflatten(1, (4, 4)).unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2)).flatten(1, 2)
    half.load_state_dict({**net.state_dict(), "pos_embed": torch.cat([places[:, :1], grid], dim=1)})
    assert_tokens(open_backbone(str(tmp_path / "m2.ckpt"), preprocess=["size=32"]), half.eval())


def test_m2_encoder_without_a_block_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    whole = {name: value for name, value in state.items() if ".layers.2." not in name or "backbone_vl" not in name}
    torch.save(whole, tmp_path / "m2.ckpt")
    with pytest.raises(CheckpointError, match="11 blocks of width 768"):
        open_backbone(str(tmp_path / "m2.ckpt"))
