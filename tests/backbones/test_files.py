"""Weights files as backbones: the traps that score low instead of failing, each of which has to fail or be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError, CheckpointError

VIT = "vit_small_patch16_224"


def network(name: str, **options: Any) -> nn.Module:
    """A network with no parameter at its neutral value."""
    torch.manual_seed(0)
    module = timm.create_model(name, **options).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.05)
    return module


def moco_v3(module: nn.Module) -> dict[str, Any]:
    """A training checkpoint of MoCo v3 around a module."""
    state = {f"module.base_encoder.{k}": v for k, v in module.state_dict().items() if not k.startswith("head")}
    state |= {f"module.base_encoder.head.{i}.weight": torch.ones(4, 4) for i in (0, 3, 6)}
    state |= {k.replace("base_encoder", "momentum_encoder"): v + 1 for k, v in list(state.items())}
    state |= {f"module.predictor.{i}.weight": torch.ones(4, 4) for i in (0, 3)}
    return {"epoch": 300, "arch": "vit_small", "state_dict": state, "optimizer": {}, "scaler": {}}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A MoCo v3 file of a 12-head ViT-S, and the network."""
    module = network(VIT, num_heads=12)
    path = tmp_path_factory.mktemp("moco") / "vit-s-300ep.pth.tar"
    torch.save(moco_v3(module), path)
    return path, module


def pixels(size: int = 224) -> Tensor:
    return torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_a_published_file_needs_no_choice_and_says_what_was_chosen(small: tuple[Path, nn.Module]) -> None:
    path, module = small
    backbone = open_backbone(str(path))
    assert backbone.arch == f"{VIT}?num_heads=12"
    assert (backbone.origin.layout, backbone.origin.key) == ("moco-v3", "state_dict.module.base_encoder")
    notices = " ".join(backbone.origin.notices)
    assert "momentum_encoder" in notices and "12 heads" in notices
    with torch.no_grad():
        wanted = module.forward_features(backbone.preprocessing.normalise(pixels()))[:, 0]
    torch.testing.assert_close(backbone.encode(pixels()).global_("cls"), wanted, rtol=1e-5, atol=1e-5)
    assert backbone.head is None and not backbone.supervised  # its head projects


def test_six_heads_for_twelve_are_refused_although_all_shapes_agree(small: tuple[Path, nn.Module]) -> None:
    with pytest.raises(BackboneError, match=r"12 attention heads.*found 6 in vit_small_patch16_224.*num_heads=12"):
        open_backbone(str(small[0]), arch=VIT)
    assert open_backbone(str(small[0]), arch=f"{VIT}?num_heads=12").arch == f"{VIT}?num_heads=12"


def test_the_wrong_half_of_a_pair_has_to_be_asked_for(small: tuple[Path, nn.Module]) -> None:
    first, second = (open_backbone(str(small[0]), key=key) for key in ("base_encoder", "momentum_encoder"))
    assert first.weights_hash == open_backbone(str(small[0])).weights_hash != second.weights_hash


def test_a_missing_block_stops(small: tuple[Path, nn.Module], tmp_path: Path) -> None:
    content = moco_v3(small[1])
    content["state_dict"] = {k: v for k, v in content["state_dict"].items() if ".blocks.11." not in k}
    torch.save(content, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match="12 blocks"):
        open_backbone(str(tmp_path / "cut.pth"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_files_of_other_precisions_load_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    module = network("resnet18")
    torch.save(
        {k: v.to(dtype) if v.is_floating_point() else v for k, v in module.state_dict().items()}, tmp_path / "f.pth"
    )
    backbone = open_backbone(str(tmp_path / "f.pth"), preprocess=["size=64"])
    assert {parameter.dtype for parameter in backbone.module.parameters()} == {torch.float32}
    close = {torch.float16: 1e-2, torch.bfloat16: 1e-1, torch.float64: 1e-6}[dtype]
    with torch.no_grad():
        wanted = module.forward_features(backbone.preprocessing.normalise(pixels(64))).mean((2, 3))
    assert (backbone.encode(pixels(64)).global_("gap") - wanted).abs().max() <= close * wanted.abs().max()


def test_only_a_head_is_refused(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"module.fc.weight": torch.ones(1000, 2048), "module.fc.bias": torch.ones(1000)}}, tmp_path / "h"
    )
    with pytest.raises(CheckpointError):
        open_backbone(str(tmp_path / "h"))
    with pytest.raises(CheckpointError, match="tensors of resnet50"):
        open_backbone(str(tmp_path / "h"), arch="resnet50")


@pytest.mark.parametrize(("value", "message"), [(0.0, "not all zero"), (float("nan"), "finite weights")])
def test_weights_that_are_all_zero_or_nan_are_refused(value: float, message: str, tmp_path: Path) -> None:
    state = {
        k: torch.full_like(v, value) if v.is_floating_point() else v
        for k, v in network("resnet18").state_dict().items()
    }
    torch.save(state, tmp_path / "dead.pth")
    with pytest.raises(CheckpointError, match=message):
        open_backbone(str(tmp_path / "dead.pth"))


def test_another_image_size_builds_the_network_for_it(small: tuple[Path, nn.Module]) -> None:
    backbone = open_backbone(str(small[0]), preprocess=["size=160"])
    assert backbone.arch == f"{VIT}?img_size=160&num_heads=12" and backbone.preprocessing.size == (160, 160)
    assert any("14 x 14 to 10 x 10" in notice for notice in backbone.origin.notices)
    assert backbone.encode(pixels(160)).grid(1).shape[-2:] == (10, 10)
    given = open_backbone(str(small[0]), arch=f"{VIT}?num_heads=12", preprocess=["size=160"])
    assert given.weights_hash == backbone.weights_hash


def test_another_epsilon_is_an_option_of_every_architecture() -> None:
    backbone = open_backbone("random:test_vit?norm_eps=0.001")
    assert {part.eps for part in backbone.module.modules() if isinstance(part, nn.LayerNorm)} == {0.001}
    with pytest.raises(BackboneError, match="epsilon"):
        open_backbone("random:test_resnet?norm_eps=0.001")
