"""CroCo's encoders: a table of positions in the first version, rotations of queries and keys in the second."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from benchmark.backbones.architecture import Architecture
from benchmark.backbones.sources import open_backbone
from benchmark.backbones.vit_networks import RotaryAttention, rotary_vit
from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.encoder import find_encoder
from benchmark.checkpoints.inference.infer import infer
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_distilled import State, assert_tokens, randomised, renamed, vit

FACTORY = "python:benchmark.backbones.vit_networks:rotary_vit"
NAMES = ((r"^blocks\.", "enc_blocks."), (r"^norm\.", "enc_norm."))


def croco_state(net: nn.Module) -> State:
    """The encoder in CroCo's names, and what lies beside it."""
    state = renamed(net.state_dict(), *NAMES, (r"^pos_embed$", "enc_pos_embed"))
    if "enc_pos_embed" in state:
        state |= {"enc_pos_embed": state["enc_pos_embed"][0], "dec_pos_embed": torch.randn(16, 8)}
    beside = ("decoder_embed", "dec_norm", "dec_blocks.0.attn.qkv", "dec_blocks.0.cross_attn.projq", "prediction_head")
    return state | {"mask_token": torch.randn(1, 1, 8)} | {f"{name}.weight": torch.randn(8, 8) for name in beside}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return randomised(Architecture.parse(f"{FACTORY}?img_size=64").build(blank=True))


def saved(content: dict[str, Any], tmp_path: Path) -> str:
    torch.save(content, tmp_path / "croco.pth")
    return str(tmp_path / "croco.pth")


@pytest.mark.parametrize("released", [True, False])
def test_croco_v2_gives_its_encoder_with_rotary_positions(net: nn.Module, released: bool, tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": croco_state(net), "croco_kwargs": {"enc_num_heads": 12, "pos_embed": "RoPE100"}}
    if not released:
        arguments = argparse.Namespace(model="CroCoNet(pos_embed='RoPE100')", lr=1e-4)
        content = {"model": croco_state(net), "optimizer": {"state": {}}, "scaler": {}, "args": arguments, "epoch": 3}
    backbone = open_backbone(saved(content, tmp_path), preprocess=["size=64"])
    assert backbone.origin.layout == "croco-v2"
    assert (backbone.default_representation, backbone.preprocessing.interpolation) == ("avg", "bicubic")
    assert backbone.arch.startswith(FACTORY) and "num_heads=12" in backbone.arch
    assert_tokens(backbone, net, prefix=0)


def test_croco_v2_was_trained_on_224_pixels(net: nn.Module, tmp_path: Path) -> None:
    content = {"model": croco_state(net), "croco_kwargs": {"pos_embed": "RoPE100"}}
    archive = open_archive(Path(saved(content, tmp_path)))
    assert "img_size=224" in infer(archive, find_encoder(archive)).arch


def test_rotations_of_another_base_are_not_taken_for_croco_v2s(net: nn.Module, tmp_path: Path) -> None:
    content = {"model": croco_state(net), "croco_kwargs": {"pos_embed": "RoPE10"}}
    with pytest.raises(CheckpointError):
        open_backbone(saved(content, tmp_path))


def test_croco_v2_without_its_last_block_is_refused(net: nn.Module, tmp_path: Path) -> None:
    state = {name: value for name, value in croco_state(net).items() if not name.startswith("enc_blocks.11.")}
    with pytest.raises(CheckpointError, match="11 blocks of width 768"):
        open_backbone(saved({"model": state, "croco_kwargs": {"pos_embed": "RoPE100"}}, tmp_path))


def test_the_first_croco_adds_a_table_of_positions(tmp_path: Path) -> None:
    table = vit(class_token=False, global_pool="avg", fc_norm=False, embed_dim=768, num_heads=12, depth=12)
    backbone = open_backbone(saved({"model": croco_state(table)}, tmp_path))
    assert (backbone.origin.layout, backbone.preprocessing.size) == ("croco", (64, 64))
    assert_tokens(backbone, table, prefix=0)


def rotated(channels: Tensor, place: int, base: float) -> Tensor:
    """(D,) as D / 2 complex numbers, each turned by its own speed times the place."""
    half = len(channels) // 2
    turns = torch.tensor([place / base ** (2 * i / len(channels)) for i in range(half)])
    turned = torch.complex(channels[:half], channels[half:]) * torch.polar(torch.ones(half), turns)
    return torch.cat([turned.real, turned.imag])


def test_queries_turn_by_row_and_by_column_as_complex_numbers_do() -> None:
    attention = RotaryAttention(16, num_heads=1, grid=(2, 3), base=100.0)
    queries = torch.randn(1, 1, 6, 16)
    found = attention._turned(queries)[0, 0]
    for place in range(6):
        row, column = divmod(place, 3)
        query = queries[0, 0, place]
        wanted = torch.cat([rotated(query[:8], row, 100.0), rotated(query[8:], column, 100.0)])
        torch.testing.assert_close(found[place], wanted, rtol=0, atol=1e-6)


def test_rotations_have_no_tensor_of_their_own() -> None:
    net = rotary_vit(img_size=32, embed_dim=32, depth=1, num_heads=2, hidden=64)
    assert isinstance(net, VisionTransformer)
    assert not [name for name in net.state_dict() if "cos" in name or "sin" in name or "pos_embed" in name]
