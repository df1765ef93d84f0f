"""Features that autograd follows back to the pixels: the same numbers, and true slopes."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.features import Raw
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import BackboneError
from tests.backbones.building import PLAIN, Echo, backbone_of, echo, pixels


class Smooth(nn.Module):
    """Two layers without kinks, so that differences of values are slopes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv(x)).mean((2, 3)))


def slope(backbone: Backbone, images: Tensor, weights: Tensor) -> Tensor:
    followed = images.clone().requires_grad_()
    features = backbone.encode(followed, layers=0, gradients=True).global_("gap")
    return torch.autograd.grad((features * weights).sum(), followed)[0]


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (["mean=0.1,0.2,0.3", "std=0.4,0.5,0.6"], 32),
        (["mean=10,20,30", "std=50", "value_range=255", "channel_order=bgr"], 32),
        (["crop_pct=0.8", "interpolation=bilinear"], 50),
        (["crop_pct=0.8", "interpolation=bicubic", "mode=squash"], 50),
        (["interpolation=bilinear", "antialias=false"], 20),
    ],
)
def test_slopes_are_those_of_finite_differences_through_resizing_and_normalisation(
    settings: list[str], size: int
) -> None:
    torch.manual_seed(0)
    backbone = backbone_of(Smooth(), PLAIN.override(settings))
    images = 0.25 + 0.5 * torch.rand(2, 3, size, size)  # no bicubic overshoot is clamped
    weights = torch.randn(2, 6)
    found = slope(backbone, images, weights)
    for _ in range(5):
        direction = torch.randn_like(images).sign() * 0.02
        ends = [backbone.encode(images + sign * direction, layers=0).global_("gap").double() for sign in (1, -1)]
        difference = float(((ends[0] - ends[1]) * weights).sum()) / 2
        assert float((found * direction).sum()) == pytest.approx(difference, rel=2e-2, abs=2e-4)


def _timm(name: str) -> nn.Module:
    return timm.create_model(name)


@pytest.mark.parametrize(
    ("module", "size"),
    [
        (lambda: _timm("test_resnet"), 64),
        (lambda: _timm("test_efficientnet"), 64),
        (lambda: _timm("test_convnext"), 64),
        (lambda: timm.create_model("test_vit", img_size=64), 64),
        (lambda: timm.create_model("eva02_tiny_patch14_224", img_size=56, depth=4), 56),  # rotary embeddings are cached
        (lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=56, depths=(1, 1, 1, 1)), 56),
        (lambda: torchvision.models.mobilenet_v3_small(), 64),  # in-place activations
        (lambda: torchvision.models.densenet121(), 64),  # hooks on its stages
        (lambda: torchvision.models.VisionTransformer(32, 8, 4, 2, 32, 64, num_classes=5), 32),
    ],
    ids=["resnet", "efficientnet", "convnext", "vit", "eva", "swin", "mobilenet", "densenet", "torchvision-vit"],
)
def test_numbers_are_those_without_gradients_for_every_kind_of_encoder(module, size: int) -> None:
    torch.manual_seed(0)
    backbone = backbone_of(module(), Preprocessing(size=(size, size), crop_pct=1.0))
    images = pixels(2, size) / 255
    plain = backbone.encode(images)  # first, so that what a network caches has been made without gradients
    followed = images.clone().requires_grad_()
    features = backbone.encode(followed, gradients=True)
    assert features.vectors.keys() == plain.vectors.keys() and features.maps.keys() == plain.maps.keys()
    for name, vector in features.vectors.items():
        torch.testing.assert_close(vector, plain.vectors[name], rtol=1e-4, atol=1e-5)
    torch.autograd.grad(features.global_(backbone.default_representation).square().sum(), followed)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in backbone.module.parameters())
    again = backbone.encode(images)
    assert all(torch.equal(again.vectors[name], vector) for name, vector in plain.vectors.items())


def test_gradients_are_not_promised_where_there_are_none() -> None:
    backbone, images = echo(), pixels(2, 32) / 255
    for wrong in (pixels(2, 32), images):
        with pytest.raises(BackboneError, match="requires_grad=False"):
            backbone.encode(wrong, gradients=True)
    with torch.no_grad(), pytest.raises(BackboneError, match="autograd off"):
        backbone.encode(images.requires_grad_(), gradients=True)


class Detached(Echo):
    """Lets nothing through."""

    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        return super()._features(x.detach(), names, layers)


def test_an_encoder_that_cuts_the_way_back_is_refused() -> None:
    images = (pixels(2, 32) / 255).requires_grad_()
    with pytest.raises(BackboneError, match="gap of echo cut off"):
        echo(kind=Detached).encode(images, ["gap"], layers=0, gradients=True)


def test_images_are_checked_as_without_gradients() -> None:
    with pytest.raises(BackboneError, match="do not normalise them"):
        echo().encode((2 * torch.rand(2, 3, 32, 32)).requires_grad_(), gradients=True)


class Small(Echo):
    """Runs out of memory above three images."""

    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._features(x, names, layers)


def test_memory_that_runs_out_on_the_way_back_is_the_callers() -> None:
    small, images = echo(kind=Small), (pixels(4, 32) / 255).requires_grad_()
    with pytest.raises(torch.OutOfMemoryError):
        small.encode(images, gradients=True)
    assert small.batch_limit is None
    assert len(small.encode(images[:3], gradients=True)) == 3
