"""MMSegmentation's own vision transformers: a bias or norm that may be missing, a class token that may be skipped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_distilled import State, assert_tokens, renamed, same, vit

NAMES = (
    (r"^patch_embed\.proj\.", "patch_embed.projection."), (r"^blocks\.", "layers."), (r"^norm\.", "ln1."),
    (r"\.norm(\d)\.", r".ln\1."), (r"\.attn\.qkv\.", ".attn.attn.in_proj_"),
    (r"\.attn\.proj\.", ".attn.attn.out_proj."),
    (r"\.mlp\.fc1\.", ".ffn.layers.0.0."), (r"\.mlp\.fc2\.", ".ffn.layers.1."),
)  # fmt: skip
UPERNET: State = {
    "decode_head.conv_seg.weight": torch.ones(2, 2, 1, 1),
    "neck.lateral_convs.0.conv.weight": torch.ones(2),
}
SETR: State = {"decode_head.up_convs.0.0.conv.weight": torch.ones(2), "decode_head.norm.weight": torch.ones(2)}
MLA: State = {"neck.mla.channel_proj.0.conv.weight": torch.ones(2), "decode_head.conv_seg.weight": torch.ones(2)}


def opened(net: Mapping[str, Tensor], head: State, path: Path, skip: str = "", **choice: Any) -> Backbone:
    """As its runner saves a segmenter."""
    state = {f"backbone.{name}": value for name, value in renamed(net, *NAMES).items() if name != skip}
    head = head | {"auxiliary_head.conv_seg.weight": torch.ones(2, 2, 1, 1)}
    torch.save({"meta": {"iter": 9}, "state_dict": state | head, "optimizer": {"state": {}}}, path / "iter_160000.pth")
    return open_backbone(str(path / "iter_160000.pth"), **choice)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return vit(embed_dim=192, num_heads=3, depth=12)


def test_a_segmenters_transformer_is_taken_from_its_backbone(net: nn.Module, tmp_path: Path) -> None:
    backbone = opened(net.state_dict(), UPERNET, tmp_path)
    assert (backbone.origin.layout, backbone.preprocessing.size, backbone.head) == ("mmseg-vit", (64, 64), None)
    assert_tokens(backbone, net)


def test_a_patch_embedding_without_bias_adds_none(net: nn.Module, tmp_path: Path) -> None:
    backbone = opened(net.state_dict(), UPERNET, tmp_path, skip="patch_embed.projection.bias")
    plain = vit(embed_dim=192, num_heads=3, depth=12)
    plain.load_state_dict({**net.state_dict(), "patch_embed.proj.bias": torch.zeros(192)})
    assert_tokens(backbone, plain)


def test_setr_ends_without_a_norm(tmp_path: Path) -> None:
    bare = vit(embed_dim=192, num_heads=3, depth=12, final_norm=False)
    backbone = opened(bare.state_dict(), SETR, tmp_path)
    assert backbone.origin.layout == "mmseg-setr"
    assert_tokens(backbone, bare)


def patches_only(net: Any, x: Tensor) -> Tensor:
    result: Tensor = net.blocks(net.patch_embed(x) + net.pos_embed[:, 1:])
    return result


def test_setr_mla_runs_without_its_class_token(tmp_path: Path) -> None:
    bare = vit(embed_dim=192, num_heads=3, depth=12, final_norm=False)
    backbone = opened(bare.state_dict(), MLA, tmp_path)
    assert (backbone.origin.layout, backbone.default_representation) == ("mmseg-setr-mla", "avg")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        wanted = patches_only(bare, backbone.preprocessing.normalise(images))
    features = backbone.encode(images)
    same(features.global_("avg"), wanted.mean(1))
    same(features.grid().flatten(2).transpose(1, 2), wanted)


def test_setrs_positions_are_interpolated_bilinearly(tmp_path: Path) -> None:
    bare = vit(embed_dim=192, num_heads=3, depth=12, final_norm=False)
    half = vit(embed_dim=192, num_heads=3, depth=12, final_norm=False, img_size=32)
    places = bare.get_parameter("pos_embed")
    # At half the size without antialiasing, by hand: the mean of two by two neighbours.
    grid = places[:, 1:].unflatten(1, (4, 4)).unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2)).flatten(1, 2)
    half.load_state_dict({**bare.state_dict(), "pos_embed": torch.cat([places[:, :1], grid], dim=1)})
    assert_tokens(opened(bare.state_dict(), SETR, tmp_path, preprocess=["size=32"]), half)


def test_a_missing_block_stops_a_segmenter(net: nn.Module, tmp_path: Path) -> None:
    state = {name: value for name, value in net.state_dict().items() if not name.startswith("blocks.11.")}
    with pytest.raises(CheckpointError, match="12 blocks"):
        opened(state, UPERNET, tmp_path)
