"""Files of other frameworks: folders of transformers, timm and OpenCLIP, detectors of Detectron2 and MMDetection."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.networks import resnet
from benchmark.backbones.sources import open_backbone
from benchmark.checkpoints.archive import Archive, open_archive
from benchmark.checkpoints.encoder import find_encoder
from benchmark.checkpoints.inference.infer import infer
from benchmark.checkpoints.storage import LazyTensor
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_language import _zeros, randomised, renamed, same

TINY: dict[str, Any] = {"img_size": 64, "embed_dim": 128, "depth": 2, "num_heads": 4, "num_classes": 3}
CONFIG = {"num_attention_heads": 4, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "image_size": 64}
PIXELS = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3}
VIT = (
    (r"^(cls_token|mask_token)$", r"embeddings.\1"), (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^reg_token$", "embeddings.register_tokens"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."), (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."), (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."), (r"\.norm1\.", ".layernorm_before."), (r"\.norm2\.", ".layernorm_after."),
    (r"^norm\.", "layernorm."),
)  # fmt: skip


def eps(value: float) -> Any:
    return lambda *arguments, **options: nn.LayerNorm(*arguments, **{**options, "eps": value})


def apart(state: Mapping[str, Tensor], names: tuple[str, str, str] = ("query", "key", "value")) -> dict[str, Tensor]:
    """Queries, keys and values as three tensors."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            for part, piece in zip(names, value.chunk(3), strict=True):
                found[name.replace(".qkv.", f".{part}.")] = piece.clone()
        else:
            found[name] = value
    return found


def folder(
    path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], pixels: Mapping[str, Any] | None = None
) -> Path:
    path.mkdir()
    save_file({name: value.contiguous() for name, value in state.items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    if pixels is not None:
        (path / "preprocessor_config.json").write_text(json.dumps(pixels))
    return path


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return randomised(timm.create_model("vit_base_patch16_224", norm_layer=eps(1e-12), **TINY))


def hf_vit(model: nn.Module) -> dict[str, Tensor]:
    state = renamed(apart(model.state_dict()), VIT)
    head = {f"classifier.{leaf}": state.pop(f"head.{leaf}") for leaf in ("weight", "bias")}
    pooler = {"vit.pooler.dense.weight": torch.randn(128, 128), "vit.pooler.dense.bias": torch.randn(128)}
    return {f"vit.{name}": value for name, value in state.items()} | pooler | head


def test_a_folder_says_what_no_shape_does(vit: nn.Module, tmp_path: Path) -> None:
    pixels = {**PIXELS, "size": {"height": 64, "width": 64}, "image_processor_type": "ViTImageProcessor"}
    backbone = open_backbone(str(folder(tmp_path / "net", hf_vit(vit), {"model_type": "vit", **CONFIG}, pixels)))
    assert backbone.origin.layout == "hf-vit"
    assert "num_heads=4" in backbone.arch
    assert "norm_eps=1e-12" in backbone.arch
    assert backbone.head is not None
    assert backbone.head.representation == "cls"
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    assert (backbone.preprocessing.mode, backbone.preprocessing.crop_pct) == ("squash", 1.0)
    assert "preprocessor_config.json" in backbone.preprocessing.source
    assert backbone.origin.dropped["vit.pooler.dense.weight".removeprefix("vit.")]
    same(backbone, vit)
    wrong = folder(tmp_path / "wrong", hf_vit(vit), {"model_type": "vit", **CONFIG, "num_attention_heads": 2}, pixels)
    with pytest.raises(AssertionError):  # the configuration decides, whatever the weights were trained with
        same(open_backbone(str(wrong)), vit)


def test_a_configuration_without_the_number_of_heads_is_refused(vit: nn.Module, tmp_path: Path) -> None:
    config = {name: value for name, value in CONFIG.items() if name != "num_attention_heads"}
    with pytest.raises(CheckpointError, match="num_attention_heads in the configuration"):
        open_backbone(str(folder(tmp_path / "net", hf_vit(vit), {"model_type": "vit", **config})))


def test_shards_and_torch_files_of_a_folder_are_read(vit: nn.Module, tmp_path: Path) -> None:
    state = hf_vit(vit)
    names = sorted(state)
    shards = {"pytorch_model-00001-of-00002.bin": names[:20], "pytorch_model-00002-of-00002.bin": names[20:]}
    place = tmp_path / "net"
    place.mkdir()
    for shard, held in shards.items():
        torch.save({name: state[name] for name in held}, place / shard)
    located = {name: shard for shard, held in shards.items() for name in held}
    (place / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": located}))
    (place / "config.json").write_text(json.dumps({"model_type": "vit", **CONFIG}))
    backbone = open_backbone(str(place))
    assert backbone.origin.file == "net"
    same(backbone, vit)


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_sees_the_size_of_its_processor(registers: int, tmp_path: Path) -> None:
    model = randomised(
        timm.create_model(
            "vit_base_patch16_224", **{**TINY, "num_classes": 0, "img_size": 96}, init_values=1.0,
            reg_tokens=registers, no_embed_class=bool(registers), dynamic_img_size=False,
        )
    )  # fmt: skip
    kept = tuple(rule for rule in VIT if "mlp" not in rule[0] and "norm" not in rule[0])
    rules = (*kept, (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"), (r"^norm\.", "layernorm."))
    state = renamed(apart(model.state_dict()), rules)
    if registers:  # the file has a position for the class token
        cls = torch.randn(1, 1, 128).half().float()
        state["embeddings.position_embeddings"] = torch.cat([cls, state["embeddings.position_embeddings"]], dim=1)
        state["embeddings.cls_token"] = state["embeddings.cls_token"] - cls
    state["embeddings.mask_token"] = torch.randn(1, 128)
    kind = "dinov2_with_registers" if registers else "dinov2"
    config = {"model_type": kind, **CONFIG, "layer_norm_eps": 1e-6}
    crop = {"size": {"shortest_edge": 128}, "do_center_crop": True}
    plain = folder(tmp_path / "plain", state, config, {**PIXELS, **crop, "crop_size": {"height": 96, "width": 96}})
    backbone = open_backbone(str(plain))
    assert backbone.origin.layout == ("hf-dinov2-reg" if registers else "hf-dinov2")
    assert (backbone.preprocessing.size, backbone.preprocessing.crop_pct) == ((96, 96), 0.75)
    same(backbone, model)
    larger = folder(tmp_path / "larger", state, config, {**PIXELS, **crop, "crop_size": {"height": 128, "width": 128}})
    other = open_backbone(str(larger))
    assert "img_size=128" in other.arch
    assert any("interpolated from 6 x 6 to 8 x 8" in notice for notice in other.origin.notices)


def test_beit_keeps_its_relative_positions(tmp_path: Path) -> None:
    model = randomised(
        timm.create_model(
            "beit_base_patch16_224", **TINY, use_rel_pos_bias=True, init_values=0.1, norm_layer=eps(1e-12)
        )
    )
    state = renamed(
        apart(model.state_dict()),
        (
            (r"\.attn\.(relative_position_bias)_table$", r".attention.attention.\1.\1_table"),
            (r"\.attn\.q_bias$", ".attention.attention.query.bias"),
            (r"\.attn\.v_bias$", ".attention.attention.value.bias"),
            (r"\.gamma_(\d)$", r".lambda_\1"), (r"^fc_norm\.", "pooler.layernorm."), *VIT,
        ),
    )  # fmt: skip
    head = {f"classifier.{leaf}": state.pop(f"head.{leaf}") for leaf in ("weight", "bias")}
    whole = {f"beit.{name}": value for name, value in state.items()} | head
    config = {"model_type": "beit", **CONFIG}
    backbone = open_backbone(str(folder(tmp_path / "net", whole, config)))
    assert backbone.origin.layout == "hf-beit"
    assert backbone.default_representation == "avg"
    same(backbone, model, "avg")


CONVNEXT = (
    (r"^stem\.0\.", "embeddings.patch_embeddings."), (r"^stem\.1\.", "embeddings.layernorm."),
    (r"^stages\.(\d)\.downsample\.", r"encoder.stages.\1.downsampling_layer."),
    (r"^stages\.(\d)\.blocks\.", r"encoder.stages.\1.layers."), (r"\.conv_dw\.", ".dwconv."),
    (r"\.norm\.(weight|bias)$", r".layernorm.\1"), (r"^head\.layernorm\.", "layernorm."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."), (r"\.gamma$", ".layer_scale_parameter"), (r"^head\.fc\.", "classifier."),
)  # fmt: skip


def test_a_convnext_is_known_by_its_shapes(tmp_path: Path) -> None:
    model = randomised(timm.create_model("convnext_tiny", num_classes=2))
    state = renamed(model.state_dict(), CONVNEXT)
    whole = {name if name.startswith("classifier") else f"convnext.{name}": value for name, value in state.items()}
    backbone = open_backbone(str(folder(tmp_path / "net", whole, {"model_type": "convnext"})))
    assert (backbone.origin.layout, backbone.arch) == ("hf-convnext", "convnext_tiny")
    assert backbone.head is not None
    same(backbone, model, "gap")


SWIN = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."), (r"^patch_embed\.norm\.", "embeddings.norm."),
    (r"^layers\.1\.downsample\.", "layers.0.downsample."), (r"^layers\.2\.downsample\.", "layers.1.downsample."),
    (r"^layers\.3\.downsample\.", "layers.2.downsample."), (r"^layers\.", "encoder.layers."),
    (r"\.attn\.proj\.", ".attention.output.dense."), (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."), (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."), (r"\.norm2\.", ".layernorm_after."), (r"^norm\.", "layernorm."),
    (r"^head\.fc\.", "classifier."),
)  # fmt: skip


def test_a_swin_halves_where_it_did(tmp_path: Path) -> None:
    model = randomised(timm.create_model("swin_tiny_patch4_window7_224", num_classes=2))
    state = renamed(apart(model.state_dict()), SWIN)
    whole = {name if name.startswith("classifier") else f"swin.{name}": value for name, value in state.items()}
    backbone = open_backbone(str(folder(tmp_path / "net", whole, {"model_type": "swin"})))
    assert (backbone.origin.layout, backbone.arch) == ("hf-swin", "swin_tiny_patch4_window7_224")
    same(backbone, model, "avg")


CLIP = (
    (r"^cls_token$", "embeddings.class_embedding"), (r"^pos_embed$", "embeddings.position_embedding.weight"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."), (r"^norm_pre\.", "pre_layrnorm."),
    (r"^norm\.", "post_layernorm."), (r"^blocks\.", "encoder.layers."), (r"\.attn\.proj\.", ".self_attn.out_proj."),
    (r"\.attn\.([qkv])\.", r".self_attn.\1_proj."), (r"\.norm(\d)\.", r".layer_norm\1."),
)  # fmt: skip


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_image_tower_of_a_clip_has_the_activation_of_its_configuration(activation: str, tmp_path: Path) -> None:
    model = randomised(
        timm.create_model(
            "vit_base_patch16_224",
            **{**TINY, "num_classes": 0},
            pre_norm=True,
            norm_layer=eps(1e-5),
            act_layer=activation,
        )
    )
    state = renamed(apart(model.state_dict(), ("q", "k", "v")), CLIP)
    state["embeddings.class_embedding"] = state["embeddings.class_embedding"].reshape(-1)
    state["embeddings.position_embedding.weight"] = state["embeddings.position_embedding.weight"][0]
    state["embeddings.position_ids"] = torch.arange(17)[None]
    whole = {f"vision_model.{name}": value for name, value in state.items()}
    whole |= {"text_model.final_layer_norm.weight": torch.randn(8), "visual_projection.weight": torch.randn(8, 128)}
    whole |= {"text_projection.weight": torch.randn(8, 8), "logit_scale": torch.tensor(4.6)}
    tower: dict[str, Any] = {"num_attention_heads": 4, "image_size": 64}
    if activation != "quick_gelu":  # what is left out of the file is transformers' default
        tower["hidden_act"] = activation
    config = {"model_type": "clip", "vision_config": tower, "text_config": {"num_attention_heads": 8}}
    backbone = open_backbone(str(folder(tmp_path / "net", whole, config)))
    assert backbone.origin.layout == "hf-clip"
    assert backbone.origin.dropped["visual_projection.weight"].startswith("projection into the space")
    same(backbone, model)


def test_the_attention_pooling_of_siglip_is_put_together(tmp_path: Path) -> None:
    model = randomised(
        timm.create_model(
            "vit_base_patch16_224",
            **{**TINY, "num_classes": 0},
            class_token=False,
            global_pool="map",
            act_layer="gelu_tanh",
        )
    )
    parts = apart(model.state_dict(), ("q", "k", "v"))
    head = {name: parts.pop(name) for name in list(parts) if name.startswith("attn_pool.")}
    state = renamed(parts, CLIP)
    state["embeddings.position_embedding.weight"] = state["embeddings.position_embedding.weight"][0]
    state["head.probe"] = head.pop("attn_pool.latent")
    for leaf in ("weight", "bias"):
        joined = [head.pop(f"attn_pool.{part}.{leaf}") for part in ("q", "kv")]
        state[f"head.attention.in_proj_{leaf}"] = torch.cat(joined)
    state |= renamed(
        head,
        (
            (r"^attn_pool\.proj\.", "head.attention.out_proj."),
            (r"^attn_pool\.norm\.", "head.layernorm."),
            (r"^attn_pool\.", "head."),
        ),
    )
    config = {"model_type": "siglip", "vision_config": {"num_attention_heads": 4, "image_size": 64}}
    backbone = open_backbone(str(folder(tmp_path / "net", {f"vision_model.{n}": v for n, v in state.items()}, config)))
    assert backbone.origin.layout == "hf-siglip"
    assert backbone.default_representation == "pre_logits"
    assert backbone.preprocessing.mode == "squash"
    same(backbone, model, "pre_logits")


def test_a_folder_of_timm_names_its_architecture(tmp_path: Path) -> None:
    model = randomised(timm.create_model("test_vit2"))
    card = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.95, "interpolation": "bicubic"}
    config = {
        "architecture": "test_vit2",
        "pretrained_cfg": {**card, "input_size": [3, 160, 160], "crop_mode": "center"},
    }
    backbone = open_backbone(str(folder(tmp_path / "net", model.state_dict(), config)))
    assert backbone.arch == "test_vit2"
    assert (backbone.preprocessing.crop_pct, backbone.preprocessing.std) == (0.95, (0.5, 0.5, 0.5))


def test_a_folder_that_is_no_checkpoint_stays_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"a folder \(config.json\)") as caught:
        open_archive(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{")
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="JSON that does not parse"):
        open_archive(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="no JSON object"):
        open_archive(tmp_path)


@pytest.mark.parametrize(
    ("stated", "size", "crop_pct", "mode"),
    [
        ({"size": 224, "feature_extractor_type": "ViTFeatureExtractor"}, (224, 224), 1.0, "squash"),
        ({"size": 224, "crop_size": 224, "feature_extractor_type": "CLIPFeatureExtractor"}, (224, 224), 1.0, "crop"),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
         (224, 224), 0.875, "crop"),
        ({"size": {"height": 256, "width": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
         (224, 224), 0.875, "squash"),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875, "image_processor_type": "ConvNextImageProcessor"},
         (224, 224), 0.875, "crop"),
        ({"size": {"shortest_edge": 384}, "image_processor_type": "ConvNextImageProcessor"}, (384, 384), 1.0, "squash"),
    ],
)  # fmt: skip
def test_what_an_image_processor_does(
    stated: dict[str, Any], size: tuple[int, int], crop_pct: float, mode: str, tmp_path: Path
) -> None:
    found = open_archive(folder(tmp_path / "net", {"w": torch.ones(1)}, {}, {**PIXELS, **stated})).pixels
    assert (found["size"], found["crop_pct"], found["mode"]) == (size, pytest.approx(crop_pct), mode)
    assert found["interpolation"] == "bicubic"
    assert re.match(r"0\.1", str(found["mean"][0]))


DETECTRON = (
    (r"^bn1\.", "stem.conv1.norm."), (r"^conv1\.", "stem.conv1."), (r"^layer1\.", "res2."), (r"^layer2\.", "res3."),
    (r"^layer3\.", "res4."), (r"^layer4\.", "res5."), (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."), (r"\.downsample\.1\.", ".shortcut.norm."),
)  # fmt: skip
MSRA = (103.53, 116.28, 123.675)


@pytest.fixture(scope="module")
def caffe() -> nn.Module:
    """A residual network whose stages are entered by a strided 1 x 1 convolution."""
    return randomised(resnet(depth=50, stride_in_1x1=True))


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return randomised(resnet(depth=50))


def without_head(model: nn.Module) -> dict[str, Tensor]:
    held = model.state_dict().items()
    return {
        name: value for name, value in held if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }


def mean_of_map(model: nn.Module, x: Tensor) -> Tensor:
    entered: list[Tensor] = []
    handle = model.get_submodule("fc").register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0]))
    with torch.no_grad():
        model(x)
    handle.remove()
    return entered[0]


def pooled_as(backbone: Backbone, model: nn.Module) -> float:
    """The largest difference of the pooled features, relative to the largest of them."""
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    wanted = mean_of_map(model, backbone.preprocessing.normalise(images))
    ours = backbone.encode(images).global_("gap")
    return float((ours - wanted).abs().max() / wanted.abs().max())


def test_a_detector_of_detectron2_is_asked_for_its_pixels(caffe: nn.Module, plain: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model_final.pkl"
    state = renamed(without_head(caffe), DETECTRON)
    held = {f"backbone.bottom_up.{name}": value.numpy() for name, value in state.items()}
    held |= {"backbone.fpn_lateral2.weight": np.ones((4, 256, 1, 1), np.float32), "pixel_mean": np.ones(3, np.float32)}
    held |= {"proposal_generator.rpn_head.conv.weight": np.ones((4, 4), np.float32)}
    path.write_bytes(pickle.dumps({"model": held, "__author__": "Detectron2 Model Zoo"}))
    with pytest.raises(CheckpointError, match="detectron2-msra or detectron2-rgb"):
        open_backbone(str(path))
    backbone = open_backbone(str(path), layout="detectron2-msra")
    assert (backbone.preprocessing.mean, backbone.preprocessing.channel_order) == (MSRA, "bgr")
    assert backbone.origin.dropped["fpn_lateral2.weight"] == "feature pyramid of the detector"
    assert pooled_as(backbone, caffe) < 1e-5
    assert pooled_as(open_backbone(str(path), layout="detectron2-rgb"), plain) > 1e-2


def test_the_last_stage_of_a_c4_detector_is_in_its_box_head(plain: nn.Module, tmp_path: Path) -> None:
    state = renamed(without_head(plain), DETECTRON)
    places = {True: "roi_heads.", False: "backbone."}
    held = {places[name.startswith("res5")] + name: value for name, value in state.items()}
    whole = {**held, "roi_heads.box_predictor.cls_score.weight": torch.ones(2, 2)}
    torch.save({"model": whole, "optimizer": {}, "iteration": 9}, tmp_path / "model_final.pth")
    backbone = open_backbone(str(tmp_path / "model_final.pth"), layout="detectron2-rgb")
    assert backbone.arch == "resnet50"
    assert pooled_as(backbone, plain) < 1e-5
    lost = {name: value for name, value in whole.items() if "res5" not in name}
    torch.save({"model": lost}, tmp_path / "lost.pth")
    with pytest.raises(CheckpointError):
        open_backbone(str(tmp_path / "lost.pth"), layout="detectron2-rgb")


def test_weights_converted_for_detectron2_are_torchvisions(plain: nn.Module, tmp_path: Path) -> None:
    state = {name: value.numpy() for name, value in renamed(without_head(plain), DETECTRON).items()}
    content = {"model": state, "__author__": "MOCO", "matching_heuristics": True}
    (tmp_path / "converted.pkl").write_bytes(pickle.dumps(content))
    backbone = open_backbone(str(tmp_path / "converted.pkl"))
    assert (backbone.origin.layout, backbone.arch) == ("detectron2-converted", "resnet50")
    assert pooled_as(backbone, plain) < 1e-5


def test_a_detector_of_mmdetection_is_asked_for_its_style(caffe: nn.Module, tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in without_head(caffe).items()}
    state |= {f"{head}.conv.weight": torch.ones(2, 2) for head in ("neck", "rpn_head", "roi_head.bbox_head")}
    torch.save({"meta": {"epoch": 12}, "state_dict": state, "optimizer": {}}, tmp_path / "epoch_12.pth")
    with pytest.raises(CheckpointError, match="mmdet or mmdet-caffe"):
        open_backbone(str(tmp_path / "epoch_12.pth"))
    backbone = open_backbone(str(tmp_path / "epoch_12.pth"), layout="mmdet-caffe")
    assert backbone.preprocessing.value_range == 255
    assert backbone.origin.dropped["neck.conv.weight"] == "part of the detector behind the backbone"
    assert pooled_as(backbone, caffe) < 1e-5


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32", "swin_t", "convnext_tiny", "mobilenet_v3_small"])
def test_files_of_torchvision_are_known_by_their_tensors(name: str) -> None:
    with torch.device("meta"):
        state = torchvision.models.get_model(name, num_classes=7).state_dict()
    blank = {key: LazyTensor(tuple(v.shape), torch.float32, _zeros(tuple(v.shape))) for key, v in state.items()}
    archive = Archive(Path(f"{name}.pth"), "torch-zip", "", 0, blank)
    assert infer(archive, find_encoder(archive)).arch == f"torchvision:{name}"


def test_the_backbone_of_stable_pretraining_is_taken_without_loss_and_probes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=0).eval()
    state = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    state |= {
        "projector.0.weight": torch.ones(4, 4),
        "sigreg.ep.t": torch.ones(3),
        "sigreg.global_step": torch.ones(()),
    }
    state |= {"callbacks_modules.probe.weight": torch.ones(10, 512)}
    torch.save({"pytorch-lightning_version": "2.5", "state_dict": state, "epoch": 1}, tmp_path / "last.ckpt")
    backbone = open_backbone(str(tmp_path / "last.ckpt"), preprocess=["size=64"])
    assert (backbone.origin.layout, backbone.arch, backbone.head) == ("stable-pretraining", "resnet18", None)
    assert backbone.preprocessing.source.startswith("assumed")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        wanted = network(backbone.preprocessing.normalise(images))
    torch.testing.assert_close(backbone.encode(images).global_("gap"), wanted, rtol=1e-5, atol=1e-5)
