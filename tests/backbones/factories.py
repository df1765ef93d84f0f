"""Networks that no library has a name for, as a user's own file would define them."""

from __future__ import annotations

from functools import partial

import torch
from timm.models.efficientnet import _gen_mobilenet_v1
from torch import Tensor, nn


def _full(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1))


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.LeakyReLU(0.1),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )


class MobileNetV1Quarter(nn.Module):
    """MobileNetV1 at a quarter of its width, in the three stages of its published training code."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        first = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        second = [(64, 128, 2), *[(128, 128, 1)] * 5]
        third = [(128, 256, 2), (256, 256, 1)]
        self.stage1 = nn.Sequential(_full(3, 8, 2), *(_separable(*spec) for spec in first))
        self.stage2 = nn.Sequential(*(_separable(*spec) for spec in second))
        self.stage3 = nn.Sequential(*(_separable(*spec) for spec in third))
        self.avg = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(256, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avg(self.stage3(self.stage2(self.stage1(x))))
        return self.fc(x.view(-1, 256))


def stages(classes: int = 1000) -> nn.Module:
    return MobileNetV1Quarter(classes)


def timm_style() -> nn.Module:
    return _gen_mobilenet_v1("mobilenetv1_100", channel_multiplier=0.25, act_layer=partial(nn.LeakyReLU, 0.1))


class Tokens(nn.Module):
    """Returns (B, prefix + 16, 12) tokens of an image of 32 x 32 pixels."""

    def __init__(self, prefix: int, patches: int = 16) -> None:
        super().__init__()
        if prefix:
            self.num_prefix_tokens = prefix
        self.patches = patches
        self.embed = nn.Conv2d(3, 12, 8, 8)
        self.lead = nn.Parameter(torch.randn(1, prefix, 12))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)[:, : self.patches]
        return torch.cat([self.lead.expand(len(x), -1, -1), patches], dim=1)


def tokens(prefix: int = 0, patches: int = 16) -> nn.Module:
    return Tokens(prefix, patches)


class Returns(nn.Module):
    """Returns a map, a vector, or what no backbone is."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.embed = nn.Conv2d(3, 12, 8, 8)

    def forward(self, x: Tensor) -> object:
        out = self.embed(x)
        return {"map": out, "vector": out.amax((2, 3)), "dict": {"x": out}, "logit": out.mean((1, 2, 3))}[self.what]


def returns(what: str) -> nn.Module:
    return Returns(what)


class TwoCalls(nn.Module):
    """Calls its classifier twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3))) + self.fc(x.amax((2, 3)))


def two_calls() -> nn.Module:
    return TwoCalls()


def fails() -> nn.Module:
    raise ValueError("no weights\nhere")


def no_module() -> str:
    return "weights"
