"""OpenMMLab's transformers, ConvNeXts and deep stems, and ClassyVision's SSCD: files rebuilt from small networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.networks import Descriptor
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_language import randomised
from tests.checkpoints.families.test_resnets import randomised as randomised_resnet

State = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]
MLP: Rules = ((r"\.mlp\.fc1\.", ".ffn.layers.0.0."), (r"\.mlp\.fc2\.", ".ffn.layers.1."))
PATCHES: Rules = ((r"^patch_embed\.proj\.", "patch_embed.projection."),)
HEAD = {"head.fc.weight": torch.randn(5, 8), "head.fc.bias": torch.randn(5)}
SEGMENTER = {"decode_head.conv_seg.weight": torch.randn(2, 2, 1, 1), "auxiliary_head.convs.0.bn.bias": torch.randn(2)}
DETECTOR = {
    "neck.lateral_convs.0.conv.weight": torch.randn(2, 2, 1, 1),
    "rpn_head.rpn_conv.weight": torch.randn(2, 2, 3, 3),
    "roi_head.bbox_head.fc_cls.weight": torch.randn(2, 2),
}


def names(state: State, rules: Rules) -> State:
    made: State = {}
    for name, value in state.items():
        if name.startswith(("head.fc.", "head.weight", "head.bias", "fc.")):
            continue
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        made[name] = value
    return made


def opened(path: Path, backbone: State, *, root: str = "backbone.", **beside: Tensor) -> Backbone:
    state = {root + name: value for name, value in backbone.items()} | beside
    file = path / "epoch_1.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": state, "optimizer": {"state": {}}, "message_hub": {}}, file)
    return open_backbone(str(file))


def assert_last(backbone: Backbone, network: Any, tokens: bool = False) -> None:
    """The last map, or tokens and class token, are the network's on the same input."""
    size = backbone.preprocessing.size
    images = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    with torch.no_grad():
        last: Tensor = network.forward_features(backbone.preprocessing.normalise(images))
    found = backbone.encode(images)
    if tokens:
        assert (found.grid().flatten(2).transpose(1, 2) - last[:, 1:]).abs().max() <= 1e-5 * last.abs().max()
    else:
        expected = last.permute(0, 3, 1, 2) if last.shape[1] == last.shape[2] else last
        assert (found.grid() - expected).abs().max() <= 1e-5 * expected.abs().max()


# Swin --------------------------------------------------------------------------------------------------------------


def unfolded(weight: Tensor) -> Tensor:
    """The last axis, four patches of C channels as timm joins them, in the order of `nn.Unfold`: channel by channel."""
    channels = weight.shape[-1] // 4
    places = [(2 * column + row) * channels + c for c in range(channels) for row in range(2) for column in range(2)]
    return weight[..., places]


def swin(**options: Any) -> nn.Module:
    made = {"embed_dim": 32, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 4, 8), "window_size": 2, "img_size": 64}
    return randomised(timm.create_model("swin_tiny_patch4_window7_224", **{**made, **options}))


def mm_swin(network: nn.Module) -> State:
    rules = (*PATCHES, *MLP, (r"\.attn\.", ".attn.w_msa."), (r"^norm\.", "norm3."),
             (r"^layers\.1\.downsample", "stages.0.downsample"), (r"^layers\.2\.downsample", "stages.1.downsample"),
             (r"^layers\.3\.downsample", "stages.2.downsample"), (r"^layers\.", "stages."))  # fmt: skip
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("attn_mask")}
    return {
        name: unfolded(value) if re.search(r"downsample\.(norm|reduction)\.", name) else value
        for name, value in names(state, rules).items()
    }


@pytest.mark.parametrize("behind", [HEAD | {"head.fc.weight": torch.randn(5, 256)}, DETECTOR, SEGMENTER])
def test_swin_of_openmmlab_has_its_downsampling_put_in_order(behind: State, tmp_path: Path) -> None:
    network = swin()
    earlier = {f"norm{i}.{leaf}": torch.randn(32 * 2**i) for i in range(3) for leaf in ("weight", "bias")}
    backbone = opened(tmp_path, {**mm_swin(network), **(earlier if behind is not HEAD else {})}, **behind)
    assert backbone.origin.layout == "mm-swin"
    assert (backbone.head is not None) == ("head.fc.weight" in behind)
    assert_last(backbone, network)


def test_without_that_order_no_shape_would_tell(tmp_path: Path) -> None:
    network = swin()
    wrong = mm_swin(network)
    wrong["stages.0.downsample.reduction.weight"] = network.get_parameter("layers.1.downsample.reduction.weight").data
    with pytest.raises(AssertionError):
        assert_last(opened(tmp_path, wrong, **DETECTOR), network)


def test_swin_of_the_second_version(tmp_path: Path) -> None:
    made = {"embed_dim": 32, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 4, 8), "window_size": 2, "img_size": 64}
    network = randomised(timm.create_model("swinv2_tiny_window8_256", **made))
    rules = (*PATCHES, *MLP, (r"\.attn\.", ".attn.w_msa."), (r"^norm\.", "norm3."), (r"^layers\.", "stages."))
    state = names({n: v for n, v in network.state_dict().items() if not n.endswith("attn_mask")}, rules)
    for stage, layer in enumerate(network.layers):
        block = layer.blocks[0].attn
        state[f"stages.{stage}.blocks.0.attn.w_msa.relative_coords_table"] = block.relative_coords_table
    state = {n: unfolded(v) if n.endswith("downsample.reduction.weight") else v for n, v in state.items()}
    backbone = opened(tmp_path, state, **HEAD | {"head.fc.weight": torch.randn(5, 256)})
    assert backbone.origin.layout == "mm-swinv2"
    assert_last(backbone, network)


def test_the_backbone_of_a_detector_of_swins_authors(tmp_path: Path) -> None:
    network = swin()
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("attn_mask")}
    lower = {f"layers.{i}.downsample": f"layers.{i - 1}.downsample" for i in (1, 2, 3)}
    own = {re.sub(r"^layers\.\d\.downsample", lambda m: lower[m[0]], n): v for n, v in names(state, ()).items()}
    own = {re.sub(r"^norm\.", "norm3.", name): value for name, value in own.items()} | {"norm0.weight": torch.ones(32)}
    backbone = opened(tmp_path, own, **DETECTOR)
    assert backbone.origin.layout == "swin-detector"
    assert_last(backbone, network)


# ViT and BEiT -------------------------------------------------------------------------------------------------------

VIT = (*PATCHES, *MLP, (r"^blocks\.", "layers."), (r"\.norm([12])\.", r".ln\1."), (r"^norm\.", "ln1."),
       (r"^fc_norm\.", "ln2."), (r"\.ls1\.gamma$", ".attn.gamma1.weight"),
       (r"\.ls2\.gamma$", ".ffn.gamma2.weight"))  # fmt: skip


def vit(**options: Any) -> nn.Module:
    made = {"embed_dim": 128, "depth": 2, "num_heads": 2, "img_size": 32, "num_classes": 0, **options}
    return randomised(timm.create_model("vit_base_patch16_224", **made))


def test_vit_of_openmmlab_and_its_classifier(tmp_path: Path) -> None:
    network = vit()
    classifier = {"head.layers.head.weight": torch.randn(5, 128), "head.layers.head.bias": torch.randn(5)}
    backbone = opened(tmp_path, names(network.state_dict(), VIT), **classifier)
    assert backbone.origin.layout == "mm-vit"
    assert backbone.head is not None and torch.equal(backbone.head.weight, classifier["head.layers.head.weight"])
    assert "assumed" in backbone.preprocessing.source or "mean" not in backbone.preprocessing.source
    assert any("mean=0.5" in notice for notice in backbone.origin.notices)
    assert_last(backbone, network, tokens=True)


def test_vit_of_openmmlab_with_layer_scale_and_a_decoder_behind(tmp_path: Path) -> None:
    network = vit(init_values=0.1)
    behind = {"neck.decoder_blocks.0.ln1.weight": torch.randn(8), "neck.mask_token": torch.randn(1, 1, 8)}
    backbone = opened(tmp_path, names(network.state_dict(), VIT), **behind)
    assert backbone.origin.layout == "mm-vit" and backbone.head is None
    assert "decoder" in backbone.origin.dropped["neck.mask_token"]
    assert_last(backbone, network, tokens=True)


def test_vit_of_openmmlab_with_another_size_than_any_is_refused(tmp_path: Path) -> None:
    network = vit(embed_dim=768, num_heads=8, depth=1)  # its `small` has 8 heads and 8 blocks: the heads would be wrong
    with pytest.raises(CheckpointError, match="12 blocks"):
        opened(tmp_path, names(network.state_dict(), VIT))


def test_beit_of_openmmlab(tmp_path: Path) -> None:
    network = randomised(
        timm.create_model("beit_base_patch16_224", embed_dim=48, depth=2, num_heads=3, img_size=48, init_values=0.1)
    )
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("_index")}
    head = {"head.fc.weight": torch.randn(5, 48), "head.fc.bias": torch.randn(5)}
    backbone = opened(tmp_path, names(state, VIT), **head)
    assert backbone.origin.layout == "mm-beit" and backbone.head is not None
    assert_last(backbone, network, tokens=True)


def test_beits_pretraining_at_openmmlab_shares_its_table_among_blocks(tmp_path: Path) -> None:
    sizes = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 48}
    network = randomised(
        timm.create_model("beit_base_patch16_224", init_values=0.1, num_classes=0, use_fc_norm=False, **sizes)
    )
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("_index")}
    table = state["blocks.0.attn.relative_position_bias_table"]
    network.load_state_dict({**network.state_dict(), "blocks.1.attn.relative_position_bias_table": table})
    shared = {name: value for name, value in state.items() if not name.endswith("_table")}
    shared |= {"rel_pos_bias.relative_position_bias_table": table, "mask_token": torch.randn(1, 1, 48)}
    head = {"head.cls_head.weight": torch.randn(8, 48), "target_generator.blocks.input.w": torch.randn(2, 2)}
    backbone = opened(tmp_path, names(shared, VIT), **head)
    assert (backbone.origin.layout, backbone.default_representation) == ("mm-beit-pretraining", "avg")
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        wanted = network.forward_features(backbone.preprocessing.normalise(images))[:, 1:].mean(1)
    assert (backbone.encode(images).global_("avg") - wanted).abs().max() <= 1e-5 * wanted.abs().max()


# Convolutional networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [False, True])
def test_convnext_of_openmmlab(second: bool, tmp_path: Path) -> None:
    name = "convnextv2_nano" if second else "convnext_tiny"
    network = randomised(timm.create_model(name, num_classes=5, **({"conv_mlp": False} if second else {})))
    rules = ((r"^stem\.", "downsample_layers.0."), (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
             (r"^stages\.(\d)\.blocks\.(\d+)\.", r"stages.\1.\2."), (r"\.conv_dw\.", ".depthwise_conv."),
             (r"\.mlp\.fc(\d)\.", r".pointwise_conv\1."), (r"\.mlp\.grn\.weight$", ".grn.gamma"),
             (r"\.mlp\.grn\.bias$", ".grn.beta"), (r"^head\.norm\.", "norm3."))  # fmt: skip
    state = names(network.state_dict(), rules)
    state = {n: v[..., None, None] if re.search(r"pointwise_conv\d\.weight", n) else v for n, v in state.items()}
    backbone = opened(tmp_path, state, **HEAD | {"head.fc.weight": torch.randn(5, 640 if second else 768)})
    assert backbone.origin.layout == "mm-convnext"
    assert_last(backbone, network)


STEM = (("conv1.0", "stem.0", "0.conv"), ("conv1.1", "stem.1", "0.bn"), ("conv1.3", "stem.3", "1.conv"),
        ("conv1.4", "stem.4", "1.bn"), ("conv1.6", "stem.6", "2.conv"), ("bn1", "stem.7", "2.bn"))  # fmt: skip


def deep_stem(state: State, modules: bool) -> State:
    """The stem as MMSegmentation (a sequence) or MMPretrain (modules of convolution and norm) keeps it."""
    made: State = {}
    for name, value in state.items():
        for timms, sequence, module in STEM:
            if name.startswith(f"{timms}."):
                name = (f"stem.{module}" if modules else sequence) + name.removeprefix(timms)
                break
        made[name] = value
    return made


@pytest.mark.parametrize(
    ("arch", "modules"), [("resnet50c", False), ("resnet50d", False), ("resnet50d", True), ("resnet18", False)]
)
def test_deep_stems_of_openmmlab(arch: str, modules: bool, tmp_path: Path) -> None:
    options = {"stem_type": "deep", "stem_width": 32} if arch == "resnet18" else {}
    network = randomised_resnet(timm.create_model(arch, **options), 4).eval()
    state = deep_stem(names(network.state_dict(), ()), modules)
    if arch == "resnet50d" and modules:  # MMPretrain has no pooling in a shortcut without a stride
        own = {"layer1.0.downsample.1.": "layer1.0.downsample.0.", "layer1.0.downsample.2.": "layer1.0.downsample.1."}
        state = {next((n.replace(old, new) for old, new in own.items() if old in n), n): v for n, v in state.items()}
    backbone = opened(tmp_path, state, **SEGMENTER)
    expected = {"resnet50c": "mm-resnetc", "resnet18": "mm-resnetc-basic"}.get(
        arch, "mm-resnetd-classifier" if modules else "mm-resnetd"
    )
    assert backbone.origin.layout == expected
    assert backbone.arch.startswith(arch)
    assert_last(backbone, network)


# SSCD ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [False, True])
def test_sscd_of_classy_vision_gives_the_same_descriptors(large: bool, tmp_path: Path) -> None:
    blocks, dims, groups, width = ((3, 4, 23, 3), 1024, 32, 4) if large else ((3, 4, 6, 3), 512, 1, 64)
    network = randomised_resnet(Descriptor(blocks, dims, groups=groups, width_per_group=width), 5).eval()
    parts = {"conv1": "convolutional_block.0", "bn1": "convolutional_block.1", "conv2": "convolutional_block.3",
             "bn2": "convolutional_block.4", "conv3": "convolutional_block.6", "bn3": "bn"}  # fmt: skip
    state: State = {}
    for name, value in network.state_dict().items():
        if found := re.match(r"layer(\d)\.(\d+)\.(\w+)\.(.*)", name):
            stage, part = int(found[1]) - 1, parts.get(found[3], found[3])
            new = f"backbone.blocks.{stage}.block{stage}-{found[2]}.{part}.{found[4]}"
        else:
            new = name.replace("embedding.", "embeddings.1.").replace("conv1.", "backbone.initial_block._module.0.")
            new = new.replace("bn1.", "backbone.initial_block._module.1.")
        state[new] = value
    file = tmp_path / "sscd.classy.pt"
    torch.save(state, file)
    backbone = open_backbone(str(file), preprocess=["size=64"])
    assert backbone.origin.layout == ("sscd-classy-large" if large else "sscd-classy")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        expected = network(backbone.preprocessing.normalise(images))
    found_here = backbone.encode(images).global_("gap")
    assert (found_here - expected).abs().max() <= 1e-5 * expected.abs().max()
    torch.save({name: value for name, value in state.items() if not name.startswith("embeddings")}, file)
    with pytest.raises(CheckpointError):  # a trunk alone is no copy descriptor
        open_backbone(str(file), layout=backbone.origin.layout)
