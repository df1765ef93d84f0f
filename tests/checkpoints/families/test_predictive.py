"""The JEPAs at sizes that they were not trained on, against torch's interpolation called as V-JEPA's encoder does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, interpolate

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_language import randomised

WIDTH, STEPS, SIDE = 192, 8, 4  # of images of 64 pixels


def built(width: int) -> Any:
    """A transformer with heads of 64 channels and no class token, for images of 64 x 64."""
    options: dict[str, Any] = {"class_token": False, "global_pool": "avg", "fc_norm": False, "num_classes": 0}
    sizes = {"img_size": 64, "depth": 2, "embed_dim": width, "num_heads": width // 64}
    return randomised(timm.create_model("vit_tiny_patch16_224", **sizes, **options))


@pytest.fixture(scope="module")
def network() -> Any:
    return built(WIDTH)


def saved(path: Path, state: dict[str, Tensor], inner: str = "") -> Path:
    """As both save it: the encoder and its moving average behind the wrapper for several machines."""
    target = {f"module.{inner}{name}": value for name, value in state.items()}
    context = {name: value + 1 for name, value in target.items()}
    predictor = {f"module.{inner}predictor_embed.weight": torch.randn(8, WIDTH)}
    counters = {"opt": {"state": {}}, "scaler": None, "epoch": 1, "loss": 0.5, "lr": 1e-3}
    file = path / "jepa-latest.pth.tar"
    torch.save({"encoder": context, "predictor": predictor, "target_encoder": target, **counters}, file)
    return file


def assert_patches(backbone: Backbone, network: Any, embedded: Any, positions: Tensor, steps: int = 1) -> None:
    """The mean and the patches are those of the network's blocks over patches plus these positions."""
    size = backbone.preprocessing.size
    images = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        tokens: Tensor = network.norm(network.blocks(embedded(backbone.preprocessing.normalise(images)) + positions))
    found, last = backbone.encode(images), tokens.unflatten(1, (steps, -1)).mean(1)
    assert (found.global_("avg") - last.mean(1)).abs().max() <= 1e-5 * last.abs().max()
    assert (found.grid().flatten(2).transpose(1, 2) - last).abs().max() <= 1e-5 * last.abs().max()


@pytest.mark.parametrize("side", [2, 6, 7])
def test_i_jepa_at_other_sizes_goes_by_v_jepa_s_bicubic_function(side: int, tmp_path: Path) -> None:
    network = built(128)  # a published width has a published depth
    state = dict(network.state_dict())
    backbone = open_backbone(str(saved(tmp_path, state)), preprocess=[f"size={16 * side}"])
    assert backbone.origin.layout == "i-jepa" and any("as V-JEPA does" in note for note in backbone.origin.notices)
    table = state["pos_embed"].reshape(1, SIDE, SIDE, 128).permute(0, 3, 1, 2)
    positions = interpolate(table, scale_factor=side / SIDE, mode="bicubic").permute(0, 2, 3, 1).reshape(1, -1, 128)

    def embedded(x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, *weights(state), stride=16).flatten(2).transpose(1, 2)

    assert_patches(backbone, network, embedded, positions)


def weights(state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]


@pytest.fixture(scope="module")
def clips(network: Any) -> dict[str, Tensor]:
    """The network's tensors with a kernel over two frames and a place for every step."""
    state = dict(network.state_dict())
    share = torch.rand(WIDTH, 3, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    kernel = state["patch_embed.proj.weight"][:, :, None]
    state["patch_embed.proj.weight"] = torch.cat([kernel * share, kernel * (1 - share)], 2)
    state["pos_embed"] = torch.randn(1, STEPS * SIDE**2, WIDTH, generator=torch.Generator().manual_seed(3))
    return state


@pytest.mark.parametrize("side", [2, 4, 6])
def test_v_jepa_at_other_sizes_is_trilinear_and_keeps_its_steps(
    side: int, network: Any, clips: dict[str, Tensor], tmp_path: Path
) -> None:
    backbone = open_backbone(str(saved(tmp_path, clips, "backbone.")), preprocess=[f"size={16 * side}"])
    assert backbone.origin.layout == "v-jepa" and backbone.preprocessing.size == (16 * side, 16 * side)
    table = clips["pos_embed"].reshape(1, STEPS, SIDE, SIDE, WIDTH).permute(0, 4, 1, 2, 3)
    scale = (1.0, side / SIDE, side / SIDE)
    positions = interpolate(table, scale_factor=scale, mode="trilinear").permute(0, 2, 3, 4, 1).reshape(1, -1, WIDTH)

    def embedded(x: Tensor) -> Tensor:
        frames = x.unsqueeze(2).repeat(1, 1, 2 * STEPS, 1, 1)
        return conv3d(frames, *weights(clips), stride=(2, 16, 16)).flatten(2).transpose(1, 2)

    assert_patches(backbone, network, embedded, positions, STEPS)


def test_a_clip_has_square_images_of_whole_patches(clips: dict[str, Tensor], tmp_path: Path) -> None:
    file = str(saved(tmp_path, clips, "backbone."))
    for size in ("96x64", "72"):
        with pytest.raises(CheckpointError, match="a square of whole 16 x 16 patches"):
            open_backbone(file, preprocess=[f"size={size}"])
