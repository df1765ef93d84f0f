"""PyramidCLIP: CLIP's towers with an entrance for regions, and convolutions in the transformer's first blocks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmark.backbones.clip_networks import LocalMlp, clip_resnet, leff_vit
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_clip_resnets import assert_features, state_of
from tests.checkpoints.families.test_language import clip_state, native, randomised, same

REGIONS = 2052  # width of the features of detected objects


def saved(tower: dict[str, Tensor], path: Path) -> str:
    torch.save({"epoch": 8, "state_dict": clip_state(tower), "optimizer": {"state": {}}}, path)
    return str(path)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return randomised(leff_vit(img_size=64, patch_size=16, embed_dim=64, num_heads=1))


def tower_of(net: nn.Module) -> dict[str, Tensor]:
    """The authors' names: two sequences of blocks, the second one without convolutions."""
    state = native(net.state_dict())

    def name(key: str) -> str:
        found = re.match(r"transformer\.resblocks\.(\d+)\.(.*)", key)
        if not found:
            return key
        index = int(found[1])
        return f"transformer.resblocks{'1' if index < 9 else '2'}.{index if index < 9 else index - 9}.{found[2]}"

    return {name(key): value for key, value in state.items()} | {"proj_pre": torch.randn(REGIONS, 64)}


def test_pyramidclips_transformer_convolves_in_its_first_blocks(net: nn.Module, tmp_path: Path) -> None:
    backbone = open_backbone(saved(tower_of(net), tmp_path / "ViT-B-16.pth.tar"))
    assert (backbone.origin.layout, backbone.default_representation) == ("pyramidclip", "cls")
    assert backbone.preprocessing.size == (64, 64)
    assert "detected objects" in backbone.origin.dropped["proj_pre"]
    same(backbone, net)


def test_a_missing_block_stops_pyramidclip(net: nn.Module, tmp_path: Path) -> None:
    tower = {name: value for name, value in tower_of(net).items() if ".resblocks2.2." not in name}
    with pytest.raises(CheckpointError, match="11 and 9"):
        open_backbone(saved(tower, tmp_path / "ViT-B-16.pth.tar"))


def test_pyramidclips_residual_network_is_clips_with_an_entrance_for_regions(tmp_path: Path) -> None:
    net = randomised(clip_resnet((3, 4, 6, 3), width=8, heads=4, img_size=64))
    beside = {"attnpool.proj_pre": torch.randn(REGIONS, 256), "attnpool.ln_pre.weight": torch.randn(256)}
    path = saved(state_of(net) | beside | {"attnpool.ln_pre.bias": torch.randn(256)}, tmp_path / "RN50.pth.tar")
    assert_features(path, net, "pyramidclip-resnet")


def test_the_convolution_of_an_mlp_sees_neighbours_in_rows_and_columns_and_no_class_token() -> None:
    mlp = randomised(LocalMlp(4, (2, 3)))
    x = torch.randn(1, 7, 4)

    def norm(values: Tensor, part: nn.Module) -> Tensor:
        """(N, C): batch statistics as stored, then QuickGELU."""
        mean, var, gain, bias = (
            part.get_buffer("running_mean"),
            part.get_buffer("running_var"),
            part.weight,
            part.bias,
        )  # type: ignore[union-attr]
        scaled = (values - mean) / (var + 1e-5).sqrt() * gain + bias
        return scaled * torch.sigmoid(1.702 * scaled)

    with torch.no_grad():
        inner = norm(mlp.linear1(x[0, 1:]), mlp.ac1.bn)  # type: ignore[operator, union-attr]
        kernel = mlp.depConv.depconv.weight  # type: ignore[union-attr]
        summed = torch.zeros_like(inner)
        for place in range(6):
            for other in range(6):
                down, right = other // 3 - place // 3, other % 3 - place % 3
                if abs(down) <= 1 and abs(right) <= 1:
                    summed[place] += inner[other] * kernel[:, 0, down + 1, right + 1]  # type: ignore[index, operator]
        wanted = norm(mlp.linear2(norm(summed, mlp.depConv.bn)), mlp.ac2.bn)  # type: ignore[operator, union-attr]
        found = mlp(x)
    assert torch.equal(found[:, 0], x[:, 0])
    torch.testing.assert_close(found[0, 1:], wanted, rtol=1e-5, atol=1e-5)
