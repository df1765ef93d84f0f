"""The simple feature pyramid: maps of four strides out of the last map of a plain transformer."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from benchmark.errors import RequestError

SCALES: tuple[Fraction, ...] = (Fraction(4), Fraction(2), Fraction(1), Fraction(1, 2))
"""Of Li et al. 2022 (ViTDet), section 3: strides 4, 8, 16 and 32 from a map of stride 16."""

MODELS.register_module(name="LayerNorm2d", module=LayerNorm2d)  # over channels, for the heads of ViTDet


@MODELS.register_module(name="SimplePyramid")
class SimplePyramid(nn.Module):
    """Li et al. 2022, section 3 and appendix: each level is made from the last map alone.

    A level enlarges the map by deconvolutions of stride 2 (with a norm and GELU between two of them) or halves it by
    max-pooling, and ends in a 1 x 1 and a 3 x 3 convolution, each followed by LayerNorm over channels
    (detectron2/modeling/backbone/vit.py, SimpleFeaturePyramid). Further levels repeat the last one at stride 2, as the
    region proposals of Faster R-CNN have it.

    Args:
        in_channels: D of the map.
        out_channels: of every level.
        extra: levels beyond the four.
        scales: of the four.
    """

    def __init__(
        self, in_channels: int, out_channels: int = 256, extra: int = 1, scales: Sequence[Fraction] = SCALES
    ) -> None:
        super().__init__()
        self.extra = extra
        self.levels = nn.ModuleList(_level(in_channels, out_channels, scale) for scale in scales)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels (B, out_channels, h_i, w_i), finest first, from the last of `maps` (B, D, h, w)."""
        levels = [level(maps[-1]) for level in self.levels]
        for _ in range(self.extra):
            levels.append(max_pool2d(levels[-1], kernel_size=1, stride=2))
        return tuple(levels)


def _level(width: int, out: int, scale: Fraction) -> nn.Sequential:
    def halved(channels: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)

    if scale == 4:
        resize, width = [halved(width), LayerNorm2d(width // 2), nn.GELU(), halved(width // 2)], width // 4
    elif scale == 2:
        resize, width = [halved(width)], width // 2
    elif scale == 1:
        resize = []
    elif scale == Fraction(1, 2):
        resize = [nn.MaxPool2d(kernel_size=2, stride=2)]
    else:
        raise RequestError("scales among 4, 2, 1 and 1/2", str(scale), "see ViTDet's table of pyramids")
    return nn.Sequential(
        *resize,
        nn.Conv2d(width, out, kernel_size=1, bias=False),
        LayerNorm2d(out),
        nn.Conv2d(out, out, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out),
    )
