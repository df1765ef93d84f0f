"""Lightning checkpoints of stable-pretraining: a method inside the module, a teacher, MAE's encoder, small images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_language import randomised
from tests.checkpoints.families.test_resnets import randomised as randomised_resnet

State = dict[str, Tensor]
PACES = ("base_ema_coefficient", "final_ema_coefficient", "ema_coefficient")


def vit(seed: int) -> Any:
    torch.manual_seed(seed)
    sizes = {"img_size": 64, "depth": 3, "embed_dim": 128, "num_heads": 2}
    return randomised(timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes))


def under(prefix: str, network: nn.Module) -> State:
    return {f"{prefix}{name}": value for name, value in network.state_dict().items()}


def opened(path: Path, state: State, width: int = 128) -> Backbone:
    """As Lightning saves the module: the method, and what the callbacks put beside it."""
    queue = {f"ordered_queue_embedding.{name}": torch.ones(4) for name in ("out", "pointer", "filled")}
    probe = {"linear_probe.weight": torch.randn(10, width), "linear_probe.bias": torch.randn(10)}
    beside = {f"callbacks_modules.{name}": value for name, value in (queue | probe).items()}
    content = {"pytorch-lightning_version": "2.6", "epoch": 1, "global_step": 4, "loops": {}, "callbacks": {}}
    content |= {"optimizer_states": [{"state": {}}], "hparams_name": "kwargs", "hyper_parameters": {}}
    torch.save({**content, "state_dict": state | beside}, path / "last.ckpt")
    return open_backbone(str(path / "last.ckpt"))


def assert_tokens(backbone: Backbone, network: Any, layout: str = "stable-pretraining") -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    with torch.no_grad():
        tokens: Tensor = network.forward_features(backbone.preprocessing.normalise(images))
    found = backbone.encode(images)
    assert (backbone.origin.layout, backbone.head) == (layout, None)
    assert (found.global_("cls") - tokens[:, 0]).abs().max() <= 1e-5 * tokens.abs().max()
    assert (found.grid().flatten(2).transpose(1, 2) - tokens[:, 1:]).abs().max() <= 1e-5 * tokens.abs().max()


def test_lejepa_is_taken_from_within_its_method(tmp_path: Path) -> None:
    network = vit(0)
    loss = {"model.sigreg.ep.t": torch.ones(3), "model.sigreg.global_step": torch.ones(())}
    projector = {"model.projector.0.weight": torch.randn(8, 128), "model.projector.1.0.bias": torch.randn(8)}
    backbone = opened(tmp_path, under("model.backbone.", network) | projector | loss)
    assert backbone.origin.key == "state_dict.model.backbone" and backbone.default_representation == "cls"
    assert_tokens(backbone, network)


@pytest.mark.parametrize("place", ["model.backbone.", "backbone."])
def test_the_teacher_goes_before_the_student(place: str, tmp_path: Path) -> None:
    network = vit(1)
    state = under(f"{place}student.", vit(2)) | under(f"{place}teacher.", network)
    root = place.removesuffix("backbone.")
    state |= {f"{root}{part}.{name}": torch.ones(()) for part in ("backbone", "projector") for name in PACES}
    state |= {f"{root}projector.{side}.0.weight": torch.randn(8, 128) for side in ("student", "teacher")}
    state |= {f"{root}patch_head.student.0.weight": torch.randn(8, 128)}
    backbone = opened(tmp_path, state)
    assert backbone.origin.key == f"state_dict.{place}teacher"
    assert_tokens(backbone, network)


def test_mae_keeps_its_patch_embedding_twice(tmp_path: Path) -> None:
    network = vit(3)
    state = under("model.encoder.vit.", network) | under("model.encoder.patch_embed.", network.patch_embed)
    state |= {
        "model.decoder.mask_token": torch.ones(1, 1, 8),
        "model.decoder.transformer.pos_embed": torch.ones(1, 16, 8),
    }
    assert_tokens(opened(tmp_path, state), network)


@pytest.mark.parametrize("place", ["model.backbone.", "backbone.", "backbone.teacher."])
def test_small_images_have_a_stem_without_pooling(place: str, tmp_path: Path) -> None:
    network: Any = timm.create_model("resnet18", num_classes=0)
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    randomised_resnet(network, 5)
    backbone = opened(tmp_path, under(place, network), 512)
    assert backbone.origin.layout == "stable-pretraining-cifar" and backbone.preprocessing.size == (32, 32)
    images = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    with torch.no_grad():
        wanted = network(backbone.preprocessing.normalise(images))
    assert (backbone.encode(images).global_("gap") - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_a_missing_block_stops(tmp_path: Path) -> None:
    state = under("model.backbone.", vit(0))
    whole = {name: value for name, value in state.items() if ".blocks.1." not in name}
    with pytest.raises(CheckpointError, match=r"no blocks\.1"):
        opened(tmp_path, whole)


@pytest.mark.parametrize("head", ["head", "decoder"])
@pytest.mark.parametrize("place", ["model.", ""])
def test_masked_transformers_lie_in_an_encoder(place: str, head: str, tmp_path: Path) -> None:
    network = vit(4)
    state = under(f"{place}encoder.", network) | {f"{place}mask_token": torch.randn(1, 1, 128)}
    state |= {f"{place}{head}.weight": torch.randn(16, 128), f"{place}{head}.bias": torch.randn(16)}
    backbone = opened(tmp_path, state)
    assert (backbone.origin.key, backbone.default_representation) == (f"state_dict.{place}encoder", "cls")
    assert_tokens(backbone, network, "stable-pretraining-masked")


def test_data2vec_is_evaluated_by_its_teacher(tmp_path: Path) -> None:
    network = vit(5)
    state = under("model.encoder.teacher.", network) | under("model.encoder.student.", vit(6))
    state |= {f"model.encoder.{name}": torch.ones(()) for name in PACES} | {"model.mask_token": torch.randn(1, 1, 128)}
    state |= {"model.regressor.weight": torch.randn(128, 128), "model.regressor.bias": torch.randn(128)}
    backbone = opened(tmp_path, state)
    assert backbone.origin.key == "state_dict.model.encoder.teacher"
    assert_tokens(backbone, network, "stable-pretraining-data2vec")


@pytest.mark.parametrize("place", ["model.", ""])
def test_i_jepa_runs_its_student_without_the_class_token(place: str, tmp_path: Path) -> None:
    network = vit(7)
    state: State = {}
    for side, source in (("student", network), ("teacher", vit(8))):
        state |= under(f"{place}encoder.{side}.vit.", source)
        state |= under(f"{place}encoder.{side}.patch_embed.", source.patch_embed)
    state |= {f"{place}encoder.{name}": torch.ones(()) for name in PACES}
    state |= {
        f"{place}predictor.blocks.0.norm.weight": torch.ones(8),
        f"{place}predictor.mask_token": torch.ones(1, 1, 8),
    }
    backbone = opened(tmp_path, state)
    assert (backbone.origin.layout, backbone.default_representation) == ("stable-pretraining-ijepa", "avg")
    assert backbone.origin.key == f"state_dict.{place}encoder.student.vit"
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    with torch.no_grad():
        patches = network.patch_embed(backbone.preprocessing.normalise(images)) + network.pos_embed[:, 1:]
        wanted = network.norm(network.blocks(patches))
    found = backbone.encode(images)
    assert (found.global_("avg") - wanted.mean(1)).abs().max() <= 1e-5 * wanted.mean(1).abs().max()
    assert (found.grid().flatten(2).transpose(1, 2) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_an_encoder_without_what_beside_it_says_the_method_is_not_taken_for_one(tmp_path: Path) -> None:
    state = under("model.encoder.", vit(9)) | {"model.head.weight": torch.randn(16, 128)}  # iGPT's is causal
    with pytest.raises(CheckpointError, match="layout generic"):
        opened(tmp_path, state)
