"""Lightning checkpoints of solo-learn and lightly: what lies beside the backbone, and the heads of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.networks import resnet
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_language import randomised
from tests.checkpoints.families.test_resnets import randomised as randomised_resnet

State = dict[str, Tensor]


def under(prefix: str, network: nn.Module) -> State:
    return {f"{prefix}{name}": value for name, value in network.state_dict().items()}


def vit(**options: Any) -> Any:
    """The smallest published transformer, for images of 64 x 64."""
    return randomised(timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0, **options))


def opened(path: Path, state: State) -> Backbone:
    content = {"pytorch-lightning_version": "2.1", "epoch": 1, "global_step": 4, "loops": {}, "callbacks": {}}
    torch.save({**content, "optimizer_states": [], "lr_schedulers": [], "state_dict": state}, path / "last.ckpt")
    return open_backbone(str(path / "last.ckpt"))


def assert_same(backbone: Backbone, network: nn.Module, layout: str) -> None:
    size = backbone.preprocessing.size
    images = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    with torch.no_grad():
        wanted = network(backbone.preprocessing.normalise(images))
    found = backbone.encode(images).global_(backbone.default_representation)
    assert (backbone.origin.layout, backbone.head) == (layout, None)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


BESIDE = {
    "dino": {"head.mlp.0.weight": (8, 512), "momentum_head.mlp.0.weight": (8, 512), "dino_loss_func.center": (1, 8)},
    "all4one": {"pos_enc.penc.penc.inv_freq": (8,), "transformer_encoder.layers.0.norm1.bias": (8,), "queue_y": (8,)},
    "deepclusterv2": {"local_memory_embeddings": (2, 4, 8), "local_memory_index": (4,), "prototypes.0.weight": (8, 8)},
}


@pytest.fixture(scope="module")
def padded() -> nn.Module:
    network: Any = randomised_resnet(resnet(18, stem="cifar-pad2"), 5)
    network.fc = nn.Identity()
    assert isinstance(network, nn.Module)
    return network


@pytest.mark.parametrize("method", BESIDE)
def test_what_methods_of_solo_learn_keep_is_left_out(method: str, padded: nn.Module, tmp_path: Path) -> None:
    state = under("backbone.", padded) | {"classifier.weight": torch.randn(10, 512), "classifier.bias": torch.randn(10)}
    state |= {name: torch.randn(shape) for name, shape in BESIDE[method].items()}
    assert_same(opened(tmp_path, state), padded, "solo-learn-cifar")


def test_a_tensor_nobody_knows_still_stops(padded: nn.Module, tmp_path: Path) -> None:
    state = under("backbone.", padded) | {"classifier.weight": torch.randn(10, 512), "adapter.weight": torch.ones(8)}
    with pytest.raises(CheckpointError, match=r"adapter\.weight"):
        opened(tmp_path, state)


CLASSIFIER = {"classifier.weight": torch.ones(10, 192), "classifier.bias": torch.ones(10)}
DECODER = {"decoder.decoder_pred.weight": torch.ones(8, 8), "decoder.mask_token": torch.ones(1, 1, 8)}


def test_heads_of_solo_learn_are_timm_s_but_in_mae(tmp_path: Path) -> None:
    network = vit()
    assert_same(opened(tmp_path, under("backbone.", network) | CLASSIFIER), network, "solo-learn")
    network = vit(num_heads=12)
    assert_same(opened(tmp_path, under("backbone.", network) | CLASSIFIER | DECODER), network, "solo-learn-mae")


def test_positions_of_sines_are_moco_v3_s_or_another_s_whose_heads_nobody_guesses(tmp_path: Path) -> None:
    network = vit()
    places, width = torch.arange(4.0), torch.arange(48.0)
    angles = places[:, None] / 10000 ** (width / 48)
    rows, columns = angles.repeat_interleave(4, 0), angles.repeat(4, 1)
    table = torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], 1)
    network.pos_embed.data = torch.cat([torch.zeros(1, 192), table])[None]
    with pytest.raises(CheckpointError, match="num_heads=12"):
        opened(tmp_path, under("backbone.", network) | CLASSIFIER)


@pytest.mark.parametrize("place", ["backbone.", "backbone.vit."])
def test_transformers_of_lightly_are_taken_without_their_students(place: str, tmp_path: Path) -> None:
    network = vit()
    state = under(place, network) | {"student_" + name: value + 1 for name, value in under(place, network).items()}
    state |= {f"{side}projection_head.layers.0.weight": torch.ones(8, 192) for side in ("", "student_")}
    state |= {"online_classifier.classification_head.weight": torch.ones(10, 192), "criterion.center": torch.ones(1, 8)}
    if place == "backbone.vit.":
        state |= {"backbone.mask_token": torch.ones(1, 1, 192), "decoder.mask_token": torch.ones(1, 1, 8)}
    assert_same(opened(tmp_path, state), network, "lightly-vit")
