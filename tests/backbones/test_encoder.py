from fractions import Fraction

import pytest
import timm
import torch
from torch import nn

from benchmark.backbones.encoder import Encoder
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError
from tests.backbones.building import backbone_of, pixels

HIERARCHICAL = ["resnet18", "convnext_atto", "mobilenetv2_100", "swin_tiny_patch4_window7_224"]


def varied(module: nn.Module) -> nn.Module:
    """Statistics and small parameters that are not those of a fresh network."""
    torch.manual_seed(3)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim <= 1:
            tensor.uniform_(0.5, 1.5) if "var" in name or "weight" in name else tensor.uniform_(-0.2, 0.2)
    return module


@torch.no_grad()
@pytest.mark.parametrize("name", HIERARCHICAL)
def test_maps_of_a_hierarchical_network_are_those_of_timms_own_feature_extraction(name: str) -> None:
    backbone = backbone_of(varied(timm.create_model(name)), Preprocessing())
    wanted = 4 if "swin" in name or "convnext" in name else (1, 2, 3, 4)
    reference = timm.create_model(name, features_only=True, feature_cls="getter", out_indices=wanted).eval()
    state = backbone.module.state_dict()
    reference.load_state_dict({key: state[key.removeprefix("model.")] for key in reference.state_dict()})
    x = backbone.preprocessing.normalise(pixels(1, 224))
    encoder = Encoder(backbone).eval()
    maps = encoder(x)
    assert [stage.stride for stage in encoder.stages] == [4, 8, 16, 32]
    assert [stage.channels for stage in encoder.stages] == [m.shape[1] for m in maps]
    assert all(torch.equal(a, b) for a, b in zip(maps, reference(x), strict=True))


@torch.no_grad()
def test_a_networks_maps_follow_the_size_of_the_image() -> None:
    encoder = Encoder(open_backbone("random:resnet18")).eval()
    assert [tuple(m.shape[-2:]) for m in encoder(torch.zeros(1, 3, 96, 160))] == [(24, 40), (12, 20), (6, 10), (3, 5)]


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_vit", "test_vit4?reg_tokens=2&class_token=True"])
def test_maps_of_a_transformer_leave_their_blocks_bare_and_without_class_and_register_tokens(name: str) -> None:
    backbone = open_backbone(f"random:{name}", preprocess=["size=64x96"])
    vit = varied(backbone.module)
    encoder = Encoder(backbone, layers=(1, -1)).eval()
    x = torch.randn(2, 3, 64, 96)
    tokens, expected = vit.norm_pre(vit._pos_embed(vit.patch_embed(x))), []
    for block in vit.blocks:
        tokens = block(tokens)
        expected.append(tokens[:, vit.num_prefix_tokens :].transpose(1, 2).reshape(2, -1, 4, 6))
    assert vit.num_prefix_tokens >= 1
    maps = encoder(x)
    assert torch.equal(maps[0], expected[1]) and torch.equal(maps[1], expected[-1])
    assert [stage.stride for stage in encoder.stages] == [16, 16]


@torch.no_grad()
def test_normed_maps_are_those_that_frozen_features_have() -> None:
    backbone = open_backbone("random:test_vit", preprocess=["size=64"])
    varied(backbone.module)
    images = pixels(2, 64)
    (found,) = Encoder(backbone, layers=1, norm=True).eval()(backbone.preprocessing.normalise(images))
    torch.testing.assert_close(found, backbone.encode(images).grid())
    (bare,) = Encoder(backbone, layers=1).eval()(backbone.preprocessing.normalise(images))
    assert not torch.allclose(found, bare, rtol=0.1)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "vit_b_32"])
def test_torchvisions_networks_give_maps_too(name: str) -> None:
    backbone = open_backbone(f"random:torchvision:{name}")
    encoder = Encoder(backbone).eval()
    outputs: list[torch.Tensor] = []
    last = backbone.module.get_submodule("layer4" if name == "resnet18" else "encoder.layers.encoder_layer_11")
    last.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    x = torch.randn(1, 3, 224, 224)
    backbone.module(x)
    theirs = outputs[0] if name == "resnet18" else outputs[0][:, 1:].transpose(1, 2).reshape(1, 768, 7, 7)
    assert torch.equal(encoder(x)[-1], theirs)


def test_training_an_encoder_leaves_the_backbone_as_it_is() -> None:
    backbone = open_backbone("random:resnet18")
    before, images = backbone.weights_hash, pixels(1, 64)
    features = backbone.encode(images)
    encoder = Encoder(backbone).train()
    encoder(torch.randn(2, 3, 64, 64))[-1].sum().backward()
    torch.optim.SGD(encoder.parameters(), lr=1.0).step()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())
    assert backbone.weights_hash == before
    assert torch.equal(backbone.encode(images).global_("gap"), features.global_("gap"))


def test_images_of_another_size_than_the_positions_are_refused() -> None:
    encoder = Encoder(open_backbone("random:test_vit", preprocess=["size=64"]))
    with pytest.raises(BackboneError, match=r"images of 64 x 64.*96 x 64"):
        encoder(torch.zeros(1, 3, 96, 64))


def test_a_patch_that_does_not_divide_sixteen_has_an_honest_stride() -> None:
    backbone = open_backbone("random:vit_tiny_patch16_224?patch_size=14&depth=1", preprocess=["size=98"])
    assert Encoder(backbone).stages[0].stride == Fraction(14)


def test_an_encoder_without_maps_is_refused() -> None:
    with pytest.raises(BackboneError, match="an encoder with maps"):
        Encoder(backbone_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8)), Preprocessing(size=(32, 32))))
