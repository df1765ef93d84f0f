"""Self-distilled and predictive encoders: files as DINO, its relatives and the JEPAs write them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError, CheckpointError

State = dict[str, Tensor]
Write = Callable[[Any], Path]
TINY: dict[str, Any] = {"img_size": 64, "embed_dim": 128, "depth": 2, "num_heads": 2}


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with values of its own in every tensor, so that a tensor in the wrong place shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                spread = (tensor[0].numel() ** -0.5) if tensor.ndim > 1 and "embed" not in name else 0.2
                gain = name.endswith("weight") and tensor.ndim == 1
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise * spread + gain)
    return model.eval()


def built(name: str, seed: int = 0, **options: Any) -> nn.Module:
    """A network of timm without a classifier; its own initialisation, slow at full size, is left out."""
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=0, **options)
    return randomised(net.to_empty(device="cpu"), seed)


def vit(seed: int = 0, **options: Any) -> nn.Module:
    """A small transformer with heads of 64 channels, for images of 64 x 64."""
    return built("vit_small_patch16_224", seed, **{**TINY, **options})


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def renamed(state: Mapping[str, Tensor], *rules: tuple[str, str]) -> State:
    found: State = {}
    for name, value in state.items():
        for pattern, to in rules:
            name = re.sub(pattern, to, name)
        found[name] = value
    return found


def head(width: int = 128) -> State:
    """DINO's projection head."""
    return {"head.mlp.0.weight": torch.randn(32, width), "head.last_layer.weight_v": torch.randn(8, 32)}


def settings(**more: Any) -> dict[str, Any]:
    """What training scripts save beside the weights."""
    return {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}},
        "epoch": 3,
        "args": argparse.Namespace(lr=1),
        **more,
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Saves the content of a file and gives its path."""

    def save(content: Any) -> Path:
        torch.save(content, tmp_path / "checkpoint.pth")
        return tmp_path / "checkpoint.pth"

    return save


def tokens(net: nn.Module, x: Tensor) -> Tensor:
    """(B, N, D): what timm's networks return before their heads."""
    forward: Any = net
    result: Tensor = forward.forward_features(x)
    return result


def same(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) <= 1e-5


def assert_tokens(backbone: Backbone, net: nn.Module, prefix: int = 1) -> None:
    """The backbone gives the class token and the patches of the source network."""
    images = torch.randint(0, 256, (2, 3, *backbone.preprocessing.size), dtype=torch.uint8)
    with torch.no_grad():
        found = tokens(net, backbone.preprocessing.normalise(images))
    features = backbone.encode(images)
    if prefix:
        same(features.global_("cls"), found[:, 0])
    same(features.global_("avg"), found[:, prefix:].mean(1))
    same(features.grid().flatten(2).transpose(1, 2), found[:, prefix:])


def assert_vector(backbone: Backbone, name: str, forward: Callable[[Tensor], Tensor]) -> None:
    images = torch.randint(0, 256, (2, 3, *backbone.preprocessing.size), dtype=torch.uint8)
    with torch.no_grad():
        same(backbone.encode(images).global_(name), forward(backbone.preprocessing.normalise(images)))


def dino_file(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], **more: Any) -> dict[str, Any]:
    """As main_dino.py saves it: the student wrapped for several machines, the teacher not."""
    return {
        "student": {**under("module.backbone.", student), **under("module.", head())},
        "teacher": {**under("backbone.", teacher), **head()},
        **settings(dino_loss={"center": torch.zeros(1, 8)}),
        **more,
    }


# DINO


def test_dino_gives_the_teacher_without_its_head(write: Write) -> None:
    student, teacher = vit(1), vit(2)
    backbone = open_backbone(str(write(dino_file(student.state_dict(), teacher.state_dict()))))
    assert (backbone.origin.layout, backbone.origin.key) == ("dino", "teacher.backbone")
    assert backbone.head is None and backbone.default_representation == "cls"
    assert_tokens(backbone, teacher)
    path = write(dino_file(student.state_dict(), teacher.state_dict()))
    assert_tokens(open_backbone(str(path), key="student"), student)


def test_dino_interpolates_by_a_factor_of_scale_with_an_offset(write: Write) -> None:
    teacher = vit(2)
    state = teacher.state_dict()
    path = write(dino_file(state, state))
    larger = vit(2, img_size=96)
    old = state["pos_embed"]
    grid = old[:, 1:].reshape(1, 4, 4, 128).permute(0, 3, 1, 2)
    new = interpolate(grid, scale_factor=6.1 / 4, mode="bicubic").permute(0, 2, 3, 1).reshape(1, 36, 128)
    larger.load_state_dict({**state, "pos_embed": torch.cat([old[:, :1], new], 1)})
    assert_tokens(open_backbone(str(path), preprocess=["size=96"]), larger)


def test_dino_stops_at_another_number_of_heads_and_at_a_missing_block(write: Write) -> None:
    state = built("vit_small_patch16_224").state_dict()
    path = write(dino_file(state, state))
    with pytest.raises(BackboneError, match="6 attention heads"):
        open_backbone(str(path), arch="vit_small_patch16_224?num_heads=12")
    state = vit(depth=3).state_dict()
    holed = {name: value for name, value in state.items() if not name.startswith("blocks.1.")}
    with pytest.raises(CheckpointError, match=r"no blocks\.1"):
        open_backbone(str(write(dino_file(holed, holed))))


def test_a_backbone_of_width_384_with_learned_positions_has_6_heads(write: Write) -> None:
    net = built("vit_small_patch16_224")
    backbone = open_backbone(str(write(net.state_dict())))
    assert any("6 heads" in notice for notice in backbone.origin.notices)
    assert_tokens(backbone, net)


def test_a_backbone_of_width_384_with_sines_and_cosines_may_be_mocos(write: Write) -> None:
    state = built("vit_small_patch16_224").state_dict()
    angles = torch.arange(196)[:, None] * torch.linspace(0.001, 1, 192)
    table = torch.cat([angles.sin(), angles.cos()], 1)
    state["pos_embed"] = torch.cat([torch.zeros(1, 384), table])[None]
    with pytest.raises(CheckpointError, match="num_heads=6 or num_heads=12"):
        open_backbone(str(write(state)))


def test_moco_v3s_small_transformer_has_12_heads(write: Write) -> None:
    net = built("vit_small_patch16_224", num_heads=12)
    heads = {f"head.{i}.weight": torch.randn(8, 384) for i in (0, 3, 6)}
    whole = {**under("base_encoder.", {**net.state_dict(), **heads}), "predictor.0.weight": torch.randn(8, 8)}
    whole |= under("momentum_encoder.", {**vit(embed_dim=384).state_dict(), **heads})
    content = {"epoch": 3, "arch": "vit_small", "state_dict": under("module.", whole), "scaler": {"scale": 1.0}}
    backbone = open_backbone(str(write(content)))
    assert (backbone.origin.layout, backbone.head) == ("moco-v3", None)
    assert_tokens(backbone, net)


def test_dinos_xcit_computes_queries_of_the_class_token_alone(write: Write) -> None:
    net = built("xcit_small_12_p16_224")
    state = renamed(net.state_dict(), (r"^pos_embed\.", "pos_embeder."))
    for name in [name for name in state if re.search(r"cls_attn_blocks\.\d\.attn\.q\.", name)]:
        parts = [state.pop(name.replace(".attn.q.", f".attn.{part}.")) for part in "qkv"]
        state[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
    backbone = open_backbone(str(write(dino_file(state, state))), preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.arch) == ("dino-xcit", "xcit_small_12_p16_224")
    assert_vector(backbone, "cls", net)


# DINOv2


def dinov2_state(net: nn.Module) -> State:
    """The names and tokens of DINOv2's files; with registers, a position of its own for the class token."""
    state = renamed(net.state_dict(), (r"^reg_token$", "register_tokens"))
    if "register_tokens" in state:
        place = torch.randn(1, 1, state["cls_token"].shape[-1])
        state["pos_embed"] = torch.cat([place, state["pos_embed"]], 1)
        state["cls_token"] = state["cls_token"] - place
    return {**state, "mask_token": torch.randn(1, state["cls_token"].shape[-1])}


@pytest.mark.parametrize(("registers", "layout"), [(0, "dinov2"), (4, "dinov2-reg")])
def test_dinov2_is_evaluated_at_224_from_positions_for_518(write: Write, registers: int, layout: str) -> None:
    name = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    state = dinov2_state(built(name))
    backbone = open_backbone(str(write(state)))
    assert (backbone.origin.layout, backbone.preprocessing.size) == (layout, (224, 224))
    grid = state["pos_embed"][:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    if registers:
        new = interpolate(grid, size=(16, 16), mode="bicubic", antialias=True)
    else:
        new = interpolate(grid, scale_factor=16.1 / 37, mode="bicubic")
    patches = new.permute(0, 2, 3, 1).reshape(1, 256, 384)
    place = state["pos_embed"][:, :1]
    moved = renamed(state, (r"^register_tokens$", "reg_token"))
    moved["pos_embed"] = patches if registers else torch.cat([place, patches], 1)
    moved["cls_token"] = state["cls_token"] + place if registers else state["cls_token"]
    del moved["mask_token"]
    small = built(name, img_size=224)
    small.load_state_dict(moved)
    assert_tokens(backbone, small, prefix=1 + registers)


@pytest.mark.parametrize(("registers", "layout"), [(0, "dinov2-teacher"), (4, "dinov2-reg-teacher")])
@pytest.mark.parametrize("chunks", [0, 1])
def test_dinov2_trainings_keep_the_teachers_blocks_in_chunks(
    write: Write, registers: int, layout: str, chunks: int
) -> None:
    net = vit(init_values=1.0, reg_tokens=registers, no_embed_class=bool(registers))
    state = dinov2_state(net)
    if chunks:
        state = renamed(state, (r"^blocks\.(\d+)\.", r"blocks.\1.\1."))
    teacher = {**under("backbone.", state), **renamed(head(), ("^", "dino_")), **renamed(head(), ("^", "ibot_"))}
    backbone = open_backbone(str(write({"teacher": teacher})), preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.head) == (layout, None)
    assert_tokens(backbone, net, prefix=1 + registers)


# DINOv3


def dinov3(**options: Any) -> nn.Module:
    shape = {"embed_dim": 64, "depth": 2, "num_heads": 2, "num_classes": 0, "qkv_bias": False, **options}
    net = randomised(timm.create_model("vit_small_patch16_dinov3", **shape))
    rope = net.get_submodule("rope")
    rope.get_buffer("periods").copy_(rope.get_buffer("periods").bfloat16())  # as the published files hold them
    return net


def dinov3_state(net: nn.Module) -> State:
    rules = ((r"\.gamma_(\d)$", r".ls\1.gamma"), (r"^reg_token$", "storage_tokens"), (r"\.fc1_g\.", ".w1."))
    state = renamed(net.state_dict(), *rules, (r"\.fc1_x\.", ".w2."))
    if any(".w1." in name for name in state):
        state = renamed(state, (r"\.mlp\.fc2\.", ".mlp.w3."))
    periods = net.get_submodule("rope").get_buffer("periods").clone()
    return {**state, "rope_embed.periods": periods, "mask_token": torch.randn(1, 64)}


@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_takes_the_files_periods_and_tokens(write: Write, gated: bool) -> None:
    net = dinov3(swiglu_mlp=gated, swiglu_align_to=8 if gated else 0)
    state = dinov3_state(net)
    state |= {"local_cls_norm.weight": torch.ones(64), "local_cls_norm.bias": torch.ones(64)}
    path = write(state)
    backbone = open_backbone(str(path))
    assert (backbone.origin.layout, backbone.preprocessing.size, backbone.preprocessing.mode) == (
        "dinov3",
        (256, 256),
        "squash",
    )
    assert backbone.default_representation == "cls"
    assert_tokens(backbone, net, prefix=5)
    satellite = open_backbone(str(path), layout="dinov3-sat")
    assert satellite.preprocessing.mean == (0.430, 0.411, 0.296)
    other = write({**state, "rope_embed.periods": state["rope_embed.periods"] * 1.5})
    with pytest.raises(AssertionError):
        assert_tokens(open_backbone(str(other)), net, prefix=5)


def test_dinov3_masks_the_bias_of_keys_only_where_the_file_says_so(write: Write) -> None:
    net = dinov3(qkv_bias=True)
    state = dinov3_state(net)
    for block in range(2):
        parts = [state.pop(f"blocks.{block}.attn.{part}_bias") for part in "qv"]
        state[f"blocks.{block}.attn.qkv.bias"] = torch.cat([parts[0], torch.randn(64), parts[1]])
    masks = {f"blocks.{block}.attn.qkv.bias_mask": torch.ones(3, 64) for block in range(2)}
    for mask in masks.values():
        mask[1] = 0
    masks = {name: mask.flatten() for name, mask in masks.items()}
    assert_tokens(open_backbone(str(write({**state, **masks}))), net, prefix=5)
    teacher = {"teacher": {**under("backbone.", {**state, **masks}), **under("dino_", head(64))}}
    backbone = open_backbone(str(write(teacher)))
    assert backbone.origin.layout == "dinov3-teacher"
    assert_tokens(backbone, net, prefix=5)
    with pytest.raises(AssertionError):
        assert_tokens(open_backbone(str(write(state))), net, prefix=5)


def test_dinov3s_convnext_holds_its_final_norm_twice(write: Write) -> None:
    net = built("convnext_tiny")
    rules = ((r"^stem\.", "downsample_layers.0."), (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."))
    more = ((r"\.blocks\.", "."), (r"\.conv_dw\.", ".dwconv."), (r"\.mlp\.fc(\d)\.", r".pwconv\1."))
    state = renamed(net.state_dict(), *rules, *more, (r"^head\.norm\.", "norm."))
    state |= {f"norms.3.{leaf}": state[f"norm.{leaf}"] for leaf in ("weight", "bias")}
    backbone = open_backbone(str(write(state)), preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.preprocessing.mode) == ("dinov3-convnext", "squash")
    assert_vector(backbone, "gap", net)


# Relatives of DINO


def assert_layout(path: Path, layout: str, key: str, **choice: Any) -> Backbone:
    backbone = open_backbone(str(path), **choice)
    assert (backbone.origin.layout, backbone.origin.key or "", backbone.head) == (layout, key, None)
    return backbone


def test_ibot_gives_the_teacher_and_says_where_the_student_counts(write: Write) -> None:
    student, teacher = vit(1), vit(2)
    content = dino_file({**student.state_dict(), "masked_embed": torch.randn(1, 128)}, teacher.state_dict())
    content["ibot_loss"] = {**content.pop("dino_loss"), "center2": torch.zeros(1, 1, 8)}
    path = write(content)
    backbone = assert_layout(path, "ibot", "teacher.backbone")
    assert any("--key student" in notice for notice in backbone.origin.notices)
    assert_tokens(backbone, teacher)
    assert_tokens(open_backbone(str(path), key="student"), student)


def test_ibots_extracted_student_keeps_what_stands_for_masked_patches(write: Write) -> None:
    net = vit()
    path = write({"state_dict": {**net.state_dict(), "masked_embed": torch.randn(1, 128)}})
    assert_tokens(assert_layout(path, "ibot-backbone", "state_dict"), net)


def test_mugs_has_three_heads_and_blocks_of_relations_beside_the_encoder(write: Write) -> None:
    net = vit(2)
    relations = under("relation_blocks.0.", {name[9:]: value for name, value in vit(3).state_dict().items()
                                             if name.startswith("blocks.0.")})  # fmt: skip
    heads = {f"{part}_head.projector.0.weight": torch.randn(8, 128) for part in ("instance", "local_group", "group")}
    branch = {**under("backbone.", {**net.state_dict(), **relations}), **heads}
    memory = {"block.queue_0": torch.randn(8, 8)}
    extra = {"student_mem": memory, "teacher_mem": memory, "group-sup.": {"center": torch.zeros(1, 8)}}
    path = write({"student": under("module.", branch), "teacher": branch, **extra, **settings()})
    assert_tokens(assert_layout(path, "mugs-full", "teacher.backbone"), net)
    assert_tokens(assert_layout(write({**net.state_dict(), **relations}), "mugs", ""), net)


def test_udi_wraps_its_transformer_twice(write: Write) -> None:
    net = vit(2)
    branch = under("backbone.backbone.", net.state_dict())
    branch |= {"backbone.attn.qkv.weight": torch.randn(384, 128), "backbone.norm1.weight": torch.randn(128)}
    branch |= {"head.0.mlp.0.weight": torch.randn(8, 128), "head.0.last_layer.weight_v": torch.randn(8, 8)}
    loss = {"udi_loss": {"center": torch.zeros(1, 8)}}
    path = write({"student": under("module.", branch), "teacher": branch, **loss, **settings()})
    assert_tokens(assert_layout(path, "udi", "teacher.backbone.backbone"), net)


@pytest.mark.parametrize("layout", ["sit", "gmml"])
def test_reconstructing_heads_are_left_beside_the_transformer(write: Write, layout: str) -> None:
    student, net = vit(1), vit(2)
    recons = {
        "head_recons.mlp.0.weight": torch.randn(8, 128),
        "head_recons.convTrans.weight": torch.randn(8, 3, 16, 16),
    }
    branches = [under("module.", {**under("backbone.", n.state_dict()), **recons, **head()}) for n in (student, net)]
    if layout == "gmml":
        content, key = {"SiT_model": branches[1], **settings()}, "SiT_model.module.backbone"
    else:
        content, key = {"student": branches[0], "teacher": branches[1], **settings()}, "teacher.module.backbone"
    assert_tokens(assert_layout(write(content), layout, key), net)


def test_pass_reids_part_tokens_have_positions_of_their_own(write: Write) -> None:
    net = vit(img_size=(256, 128), reg_tokens=3, no_embed_class=True)
    state = dict(net.state_dict())
    parts = state.pop("reg_token")
    for name, token in [("cls", "cls_token"), *((f"part{i}", f"part_token{i}") for i in (1, 2, 3))]:
        place = torch.randn(1, 1, 128)
        whole = state["cls_token"] if name == "cls" else parts[:, int(name[-1]) - 1 : int(name[-1])]
        state |= {f"{name}_pos": place, token: whole - place}
    backbone = assert_layout(write(dino_file(state, state)), "pass-reid", "teacher.backbone")
    assert (backbone.preprocessing.size, backbone.preprocessing.mode) == ((256, 128), "squash")
    assert_tokens(backbone, net, prefix=4)
    assert_tokens(assert_layout(write(state), "pass-reid", ""), net, prefix=4)


@pytest.mark.parametrize("layout", ["esvit", "ibot-swin"])
def test_swins_patches_merge_at_the_end_of_a_stage(write: Write, layout: str) -> None:
    options: dict[str, Any] = {"embed_dim": 32, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8)}
    net = randomised(timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, **options))
    state = renamed(
        net.state_dict(), *((rf"^layers\.{i}\.downsample", f"layers.{i - 1}.downsample") for i in (1, 2, 3))
    )
    table = torch.zeros(49, 49, dtype=torch.int64)
    state |= {f"layers.{i}.blocks.0.attn.relative_position_index": table for i in range(4)}
    prefix = "" if layout == "esvit" else "backbone."
    branch = {**under(prefix, state), **head(256)}
    branch |= renamed(head(256), ("^head", "head_dense")) if layout == "esvit" else {}
    content = {"student": under("module.", branch), "teacher": branch, **settings()}
    if layout == "ibot-swin":
        content["ibot_loss"] = {"center": torch.zeros(1, 8)}
    backbone = assert_layout(write(content), layout, "teacher" if layout == "esvit" else "teacher.backbone")
    assert_vector(backbone, backbone.default_representation, net)


# Predictive methods


def joint(encoder: Mapping[str, Tensor], target: Mapping[str, Tensor], **more: Any) -> dict[str, Any]:
    """As the JEPAs save it, for several machines."""
    numbers = {"epoch": 3, "loss": 0.5, "batch_size": 8, "world_size": 1, "lr": 1e-3, "opt": {"state": {}}}
    return {"encoder": under("module.", encoder), "target_encoder": under("module.", target), **numbers, **more}


def test_msn_gives_the_target_encoder_without_its_projection(write: Write) -> None:
    net = vit(2)
    projection = {"fc.fc1.weight": torch.randn(8, 128), "fc.bn1.running_mean": torch.zeros(8)}
    content = joint({**vit(1).state_dict(), **projection}, {**net.state_dict(), **projection})
    path = write({**content, "prototypes": torch.randn(4, 8), "temperature": 0.1})
    assert_tokens(assert_layout(path, "msn", "target_encoder.module"), net)


def test_i_jepa_has_no_class_token_and_averages_its_patches(write: Write) -> None:
    options: dict[str, Any] = {"class_token": False, "global_pool": "avg", "fc_norm": False}
    student, net = vit(1, **options), vit(2, **options)
    predictor = {"module.predictor_embed.weight": torch.randn(8, 128)}
    path = write(joint(student.state_dict(), net.state_dict(), predictor=predictor, scaler=None))
    backbone = assert_layout(path, "i-jepa", "target_encoder.module")
    assert backbone.default_representation == "avg"
    assert_tokens(backbone, net, prefix=0)


def test_v_jepa_sees_an_image_as_a_clip_that_stands_still(write: Write) -> None:
    net = vit(2, embed_dim=192, num_heads=3, class_token=False, global_pool="avg", fc_norm=False)
    state = dict(net.state_dict())
    share = torch.rand(192, 3, 1, 16, 16)
    kernel = state["patch_embed.proj.weight"][:, :, None]
    state["patch_embed.proj.weight"] = torch.cat([kernel * share, kernel * (1 - share)], 2)
    state["pos_embed"] = torch.randn(1, 8 * 16, 192) * 0.3
    branch = under("backbone.", state)
    predictor = {"module.backbone.predictor_embed.weight": torch.randn(8, 192)}
    path = write(joint(branch, branch, predictor=predictor, scaler=None))
    backbone = assert_layout(path, "v-jepa", "target_encoder.module.backbone", preprocess=["size=64"])
    assert backbone.default_representation == "avg"

    def clip(x: Tensor) -> Tensor:
        frames = x.unsqueeze(2).repeat(1, 1, 16, 1, 1)
        weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
        patches = torch.nn.functional.conv3d(frames, weight, bias, stride=(2, 16, 16)).flatten(2).transpose(1, 2)
        inner: Any = net
        return inner.norm(inner.blocks(patches + state["pos_embed"])).mean(1)

    assert_vector(backbone, "avg", clip)
