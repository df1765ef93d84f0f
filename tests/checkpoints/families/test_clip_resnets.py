"""CLIP's residual networks with attention pooling of their own: DenseCLIP's and PLIP's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from timm import create_model
from torch import Tensor, nn

from benchmark.backbones.clip_networks import clip_resnet
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_language import randomised, renamed

BLOCKS = (3, 4, 6, 3)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
NAMES = (
    (r"^stem\.conv(\d)\.conv\.", r"conv\1."), (r"^stem\.conv(\d)\.bn\.", r"bn\1."),
    (r"^stages\.0\.", "layer1."), (r"^stages\.1\.", "layer2."), (r"^stages\.2\.", "layer3."),
    (r"^stages\.3\.", "layer4."), (r"\.conv(\d)_\w+\.(conv|bn)\.", r".\2\1."),
    (r"\.shortcut\.conv\.conv\.", ".downsample.0."), (r"\.shortcut\.conv\.bn\.", ".downsample.1."),
    (r"^head\.pos_embed$", "attnpool.positional_embedding"),
    (r"^head\.([qkv])\.", r"attnpool.\1_proj."),
)  # fmt: skip


def state_of(net: nn.Module, pooled: bool = True) -> dict[str, Tensor]:
    """The names of CLIP's code, with the projection that the factory leaves out."""
    found = renamed(net.state_dict(), NAMES)
    if not pooled:
        return {name: value for name, value in found.items() if not name.startswith("attnpool.")}
    width = net.get_submodule("head").get_parameter("pos_embed").shape[1]
    return found | {"attnpool.c_proj.weight": torch.randn(16, width), "attnpool.c_proj.bias": torch.randn(16)}


def dense_file(state: dict[str, Tensor], path: Path, **more: Tensor) -> str:
    """A training checkpoint of mmsegmentation or mmdetection around the encoder."""
    whole = {f"backbone.{name}": value for name, value in state.items()} | {
        "neck.lateral_convs.0.conv.weight": torch.ones(2)
    }
    torch.save({"meta": {"epoch": 1}, "state_dict": whole | more, "optimizer": {"state": {}}}, path)
    return str(path)


TEXT = {"context_decoder.text_proj.0.weight": torch.ones(2, 2), "gamma": torch.ones(4), "contexts": torch.ones(1, 8, 4)}
TEXT |= {"text_encoder.ln_final.weight": torch.ones(4)}
SEGMENTS: dict[str, Any] = {
    **TEXT,
    "decode_head.conv_seg.weight": torch.ones(2, 2, 1, 1),
    "identity_head.x": torch.ones(1),
}
DETECTS: dict[str, Any] = {
    **TEXT,
    "rpn_head.rpn_conv.weight": torch.ones(2, 2),
    "roi_head.bbox_head.fc_cls.weight": torch.ones(2),
}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """A small one for images of 128 x 128: positions over 4 x 4."""
    return randomised(clip_resnet(BLOCKS, width=8, heads=4, img_size=128))


def pooled(net: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = net.forward_head(net.forward_features(x), pre_logits=True)  # type: ignore[operator]
    return result


def assert_features(path: str, net: nn.Module, layout: str, **choice: Any) -> None:
    backbone = open_backbone(path, **choice)
    assert backbone.origin.layout == layout
    assert backbone.default_representation == "pre_logits"
    images = torch.randint(0, 256, (2, 3, *backbone.preprocessing.size), dtype=torch.uint8)
    features = backbone.encode(images)
    with torch.no_grad():
        x = backbone.preprocessing.normalise(images)
        wanted, grid = pooled(net, x), net.forward_features(x)  # type: ignore[operator]
    torch.testing.assert_close(features.global_("pre_logits"), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    torch.testing.assert_close(features.grid(), grid, rtol=0, atol=1e-5 * float(grid.abs().max()))


def resized(net: nn.Module, rows: Tensor) -> nn.Module:
    """The network for half the size, with these positions of its grid (1, D, 2, 2)."""
    small = clip_resnet(BLOCKS, width=8, heads=4, img_size=64)
    old = net.get_submodule("head").get_parameter("pos_embed").detach()
    flat = torch.cat([old[:1], rows.flatten(2)[0].T])
    small.load_state_dict({**net.state_dict(), "head.pos_embed": flat})
    return small.eval()


def grid_of(net: nn.Module) -> Tensor:
    return net.get_submodule("head").get_parameter("pos_embed").detach()[1:].T.reshape(1, -1, 4, 4)


def test_denseclips_segmenter_keeps_the_pooling_over_its_own_grid(net: nn.Module, tmp_path: Path) -> None:
    path = dense_file(state_of(net), tmp_path / "iter_80000.pth", **SEGMENTS)
    backbone = open_backbone(path)
    assert backbone.preprocessing.size == (128, 128)
    assert backbone.preprocessing.mean == CLIP_MEAN
    assert backbone.origin.dropped["text_encoder.ln_final.weight"] == "text tower"
    assert backbone.origin.dropped["head.proj.weight"] == "projection into the space shared with the text"
    assert_features(path, net, "denseclip-resnet")


def test_denseclips_segmenter_interpolates_its_positions(net: nn.Module, tmp_path: Path) -> None:
    path = dense_file(state_of(net), tmp_path / "iter_80000.pth", **SEGMENTS)
    # Bilinear at half the size without antialiasing, by hand: the mean of two by two neighbours.
    halved = grid_of(net).unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    assert_features(path, resized(net, halved), "denseclip-resnet", preprocess=["size=64"])


def test_denseclips_detector_cuts_the_corner_out_of_its_positions(net: nn.Module, tmp_path: Path) -> None:
    path = dense_file(state_of(net), tmp_path / "epoch_12.pth", **DETECTS)
    corner = resized(net, grid_of(net)[:, :, :2, :2])
    assert_features(path, corner, "denseclip-resnet-detector", preprocess=["size=64"])


def test_a_detector_has_no_positions_beyond_its_grid(net: nn.Module, tmp_path: Path) -> None:
    path = dense_file(state_of(net), tmp_path / "epoch_12.pth", **DETECTS)
    with pytest.raises(CheckpointError, match="interpolation to 8 x 8 patches"):
        open_backbone(path, preprocess=["size=256"])


def test_denseclips_baseline_has_no_pooling_and_no_text(tmp_path: Path) -> None:
    whole = randomised(create_model("resnet50_clip_gap"))
    path = dense_file(
        state_of(whole, pooled=False), tmp_path / "latest.pth", **{"bbox_head.retina_cls.weight": torch.ones(2)}
    )
    backbone = open_backbone(path, preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.arch) == ("denseclip-resnet-gap", "resnet50_clip_gap")
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        wanted = whole.forward_features(backbone.preprocessing.normalise(images)).mean((2, 3))  # type: ignore[operator]
    torch.testing.assert_close(
        backbone.encode(images).global_("gap"), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max())
    )


def test_a_missing_block_stops_denseclip(net: nn.Module, tmp_path: Path) -> None:
    state = {name: value for name, value in state_of(net).items() if not name.startswith("layer3.5.")}
    with pytest.raises(CheckpointError, match="3-4-5-3"):
        open_backbone(dense_file(state, tmp_path / "iter_80000.pth", **SEGMENTS))


@pytest.fixture(scope="module")
def person() -> nn.Module:
    return randomised(clip_resnet(BLOCKS, width=64, heads=8, img_size=(256, 128)))


def plip_file(net: nn.Module, path: Path) -> str:
    text = {
        "encoder.embeddings.word_embeddings.weight": torch.ones(4, 4),
        "encoder.pooler.dense.weight": torch.ones(4, 4),
    }
    torch.save({"ImgEncoder_state_dict": state_of(net), "TxtEncoder_state_dict": text}, path)
    return str(path)


def test_plip_sees_people_and_pools_with_8_heads(person: nn.Module, tmp_path: Path) -> None:
    path = plip_file(person, tmp_path / "PLIP_MRN50.pth.tar")
    backbone = open_backbone(path)
    assert (backbone.preprocessing.size, backbone.preprocessing.mode) == ((256, 128), "squash")
    assert backbone.preprocessing.mean == (0.357, 0.323, 0.328)
    assert backbone.origin.key == "ImgEncoder_state_dict"
    assert_features(path, person, "plip")


def test_clips_32_heads_would_be_another_network(tmp_path: Path) -> None:
    clips = randomised(clip_resnet(BLOCKS, width=64, heads=32, img_size=(256, 128)))
    with pytest.raises(AssertionError):
        assert_features(plip_file(clips, tmp_path / "PLIP_MRN50.pth.tar"), clips, "plip")


def test_plips_positions_are_for_people_only(person: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="32 positions"):
        open_backbone(plip_file(person, tmp_path / "PLIP_MRN50.pth.tar"), preprocess=["size=224"])
