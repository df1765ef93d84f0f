"""Encoders of published checkpoints that neither timm nor torchvision builds, from the blocks of these libraries.

Factories for `--arch python:benchmark.backbones.networks:NAME?...`; layouts name them where a family needs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from timm.layers import Conv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from timm.models.convnext import ConvNeXt
from timm.models.metaformer import Attention, LayerNorm2dNoBias, LayerNormNoBias, MetaFormer, SepConv
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from benchmark.errors import BackboneError

_DEPTHS: dict[int, tuple[Literal["basic", "bottleneck"], tuple[int, ...]]] = {
    10: ("basic", (1, 1, 1, 1)), 18: ("basic", (2, 2, 2, 2)), 34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)), 101: ("bottleneck", (3, 4, 23, 3)), 152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}  # fmt: skip
_STEMS = ("imagenet", "cifar", "cifar-pad2", "stl", "imagenet-no-pool")


class Resnet(nn.Module):
    """torchvision's residual network with another stem, a width that the stem shares, or Caffe's strides.

    Args:
        block, blocks: kind and number per stage.
        widen: factor on every width, the stem's included (SwAV's and SimCLR's wide networks; torchvision's wide ones
            widen the inner convolution only).
        groups, width_per_group: as torchvision's.
        stem: `imagenet` (7 x 7, stride 2, max-pool), `cifar` (3 x 3, stride 1, no pool), `cifar-pad2` (the same with
            two pixels of padding, as solo-learn has it), `stl` (3 x 3, stride 1, max-pool), `imagenet-no-pool`.
        stride_in_1x1: stages are entered by a strided 1 x 1 convolution, as in Caffe and MSRA's weights.
        same_padding: strided layers are padded as TensorFlow and JAX do it ("SAME": more behind than before).
    """

    def __init__(
        self,
        block: Literal["basic", "bottleneck"],
        blocks: Sequence[int],
        widen: int = 1,
        groups: int = 1,
        width_per_group: int = 64,
        stem: str = "imagenet",
        stride_in_1x1: bool = False,
        same_padding: bool = False,
    ) -> None:
        super().__init__()
        kind: type[BasicBlock] | type[Bottleneck] = BasicBlock if block == "basic" else Bottleneck
        self.inplanes = 64 * widen
        large = stem.startswith("imagenet")
        padding = 3 if large else 2 if stem == "cifar-pad2" else 1
        self.conv1 = nn.Conv2d(3, self.inplanes, 7 if large else 3, 2 if large else 1, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem in ("imagenet", "stl") else nn.Identity()
        for stage, count in enumerate(blocks):
            planes = 64 * widen * 2**stage
            layer = self._stage(kind, planes, count, 1 if stage == 0 else 2, groups, width_per_group, stride_in_1x1)
            self.add_module(f"layer{stage + 1}", layer)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.inplanes, 1000)
        if same_padding:
            _pad_as_jax(self)

    def _stage(
        self,
        kind: type[BasicBlock] | type[Bottleneck],
        planes: int,
        count: int,
        stride: int,
        groups: int,
        base_width: int,
        stride_in_1x1: bool,
    ) -> nn.Sequential:
        made: list[nn.Module] = []
        for index in range(count):
            step = stride if index == 0 else 1
            wide = planes * kind.expansion
            shortcut = None
            if step != 1 or self.inplanes != wide:
                shortcut = nn.Sequential(conv1x1(self.inplanes, wide, step), nn.BatchNorm2d(wide))
            block = kind(self.inplanes, planes, step, shortcut, groups, base_width)
            if stride_in_1x1 and isinstance(block, Bottleneck):
                block.conv1.stride, block.conv2.stride = (step, step), (1, 1)
            made.append(block)
            self.inplanes = wide
        return nn.Sequential(*made)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, 1000) of normalised images (B, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet(
    depth: int = 50,
    block: Literal["basic", "bottleneck"] = "bottleneck",
    blocks: Sequence[int] = (),
    widen: int = 1,
    groups: int = 1,
    width_per_group: int = 64,
    stem: str = "imagenet",
    stride_in_1x1: bool = False,
    same_padding: bool = False,
) -> nn.Module:
    """A residual network; see `Resnet`. `blocks` and `block` replace `depth` where given.

    Raises:
        BackboneError: a depth or stem that is not known.
    """
    if stem not in _STEMS:
        raise BackboneError(f"a stem among {', '.join(_STEMS)}", repr(stem), "choose one")
    if not blocks:
        if depth not in _DEPTHS:
            raise BackboneError(f"a depth among {', '.join(map(str, _DEPTHS))}", str(depth), "or give blocks=(3,4,6,3)")
        block, blocks = _DEPTHS[depth]
    return Resnet(block, blocks, widen, groups, width_per_group, stem, stride_in_1x1, same_padding)


def _pad_as_jax(net: nn.Module) -> None:
    """Replaces strided layers with a kernel by those of timm that pad "SAME"; names and weights stay."""
    for path, layer in list(net.named_modules()):
        owner, leaf = net.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
        if isinstance(layer, nn.MaxPool2d):
            setattr(owner, leaf, MaxPool2dSame(3, 2))
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1) and layer.stride != (1, 1):
            same = Conv2dSame(layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0],
                              groups=layer.groups, bias=layer.bias is not None)  # fmt: skip
            setattr(owner, leaf, same)


class SelectiveKernel(nn.Module):
    """Two 3 x 3 convolutions in one, mixed by a softmax over what their sum averages to (SimCLR v2's variant)."""

    def __init__(self, width: int, stride: int, squeezed: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(inplace=True)
        )
        self.mix = nn.Sequential(
            nn.Conv2d(width, squeezed, 1, bias=False),
            nn.BatchNorm2d(squeezed),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, 2 * width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, h, w)."""
        pair = self.main(x).unflatten(1, (2, -1))
        weights = self.mix(pair.sum(1).mean((2, 3), keepdim=True)).unflatten(1, (2, -1)).softmax(1)
        return (pair * weights).sum(1)


def selective_resnet(blocks: Sequence[int] = (3, 4, 6, 3), widen: int = 1, ratio: float = 0.0625) -> nn.Module:
    """SimCLR v2's residual network with selective kernels: a stem of three convolutions, pooled shortcuts.

    Args:
        blocks: per stage.
        widen: factor on every width.
        ratio: channels that the mixing of kernels squeezes to, over those of the block; 32 at least.
    """
    net = Resnet("bottleneck", blocks, widen)
    half = 32 * widen
    stem = nn.Sequential(
        nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        nn.Conv2d(half, half, 3, 1, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        nn.Conv2d(half, 2 * half, 3, 1, 1, bias=False),
    )  # fmt: skip
    net.add_module("conv1", stem)
    for part in list(net.modules()):
        if isinstance(part, Bottleneck):
            width, step = part.conv2.out_channels, part.conv2.stride[0]
            kernel: nn.Module = SelectiveKernel(width, step, max(int(width * ratio), 32))
            part.add_module("conv2", kernel)  # what it gives is rectified already
            part.add_module("bn2", nn.Identity())
            if isinstance(part.downsample, nn.Sequential):
                old, norm = part.downsample
                conv = conv1x1(old.in_channels, old.out_channels)
                # One row and column of zeros behind: the mean counts them.
                pool = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, step))
                part.add_module("downsample", nn.Sequential(pool, conv, norm))
    return net


class Descriptor(Resnet):
    """A residual network that gives L2-normalised descriptors (SSCD): generalised mean of the last map, then linear.

    Args:
        blocks, groups, width_per_group: as `Resnet`'s.
        dims: of the descriptor.
        power: of the generalised mean.
    """

    def __init__(
        self, blocks: Sequence[int], dims: int, power: float = 3.0, groups: int = 1, width_per_group: int = 64
    ) -> None:
        super().__init__("bottleneck", blocks, groups=groups, width_per_group=width_per_group)
        self.embedding = nn.Linear(self.inplanes, dims)
        self.power = power
        del self.fc

    def forward(self, x: Tensor) -> Tensor:
        """Descriptors (B, dims) of normalised images (B, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        pooled = x.clamp(min=1e-6).pow(self.power).mean((2, 3)).pow(1 / self.power)
        return nn.functional.normalize(self.embedding(pooled))


def sscd(
    blocks: Sequence[int] = (3, 4, 6, 3), dims: int = 512, groups: int = 1, width_per_group: int = 64
) -> nn.Module:
    """SSCD's network; see `Descriptor`."""
    return Descriptor(blocks, dims, groups=groups, width_per_group=width_per_group)


def convnext(
    depths: Sequence[int],
    dims: Sequence[int],
    head_norm_first: bool = False,
    grn: bool = False,
    final_norm: bool = True,
) -> nn.Module:
    """A ConvNeXt whose blocks do not scale their output, which no argument of timm's by text asks for.

    Args:
        depths: blocks per stage.
        dims: channels per stage.
        head_norm_first: the final norm stands before the pooling (VICRegL), not behind it.
        grn: blocks normalise their responses globally (the second version).
        final_norm: there is one (FCMAE's pretraining has none).
    """
    network = ConvNeXt(
        depths=tuple(depths), dims=tuple(dims), head_norm_first=head_norm_first, ls_init_value=None, use_grn=grn
    )
    if not final_norm:
        network.head.norm = nn.Identity()
    return network


class RectifiedConv(SepConv):
    """timm's separable convolution with a plain ReLU, which no argument of its network asks for."""

    def __init__(self, dim: int, **settings: Any) -> None:
        super().__init__(dim, act1_layer=nn.ReLU, **settings)


def caformer_relu(depths: Sequence[int] = (3, 3, 9, 3), dims: Sequence[int] = (64, 128, 320, 512)) -> nn.Module:
    """SurgeNet's CAFormer: ReLU in every place where the published one has StarReLU.

    Args:
        depths: blocks per stage, convolutional in the first two and with attention in the last two.
        dims: channels per stage.
    """
    return MetaFormer(
        depths=tuple(depths),
        dims=tuple(dims),
        token_mixers=[RectifiedConv, RectifiedConv, Attention, Attention],
        mlp_act=nn.ReLU,
        norm_layers=[LayerNorm2dNoBias, LayerNorm2dNoBias, LayerNormNoBias, LayerNormNoBias],
    )
