"""The corruptions by name: group, parameters of the five severities, what is drawn, and how it is applied.

Parameters are those of the paper (Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019) as its code has them for ImageNet, in `ImageNet-C/create_c/
make_imagenet_c.py` of github.com/hendrycks/robustness. Where that code is made for 224 pixels (snow, frost, fog, glass
blur, elastic transform), sizes follow `imagecorruptions`, which gives the same at 224.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tasks.corruptions import blur, digital, frost, noise, spatter, weather
from tasks.corruptions.draws import Streams

Parameters = tuple[float, ...]
Drawn = tuple[Any, ...]


def _nothing(streams: Streams, images: Tensor, *parameters: float) -> Drawn:
    return ()


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Attributes:
        group: noise, blur, weather or digital.
        parameters: of severities 1 to 5.
        apply: (images, *what was drawn, *parameters) -> images, uint8 (B, 3, H, W) both.
        draw: (streams, images, *parameters) -> what `apply` takes after the images.
    """

    group: str
    parameters: tuple[Parameters, ...]
    apply: Callable[..., Tensor]
    draw: Callable[..., Drawn] = _nothing

    def __call__(self, images: Tensor, severity: int, streams: Streams) -> Tensor:
        """The images at a severity, with numbers from their streams."""
        parameters = self.parameters[severity - 1]
        return self.apply(images, *self.draw(streams, images, *parameters), *parameters)


def _normals(streams: Streams, images: Tensor, scale: float) -> Drawn:
    return (streams.normals(tuple(images.shape[1:]), 0),)


def _counts(streams: Streams, images: Tensor, photons: float) -> Drawn:
    return (streams.poisson(images, photons, 0),)


def _bits(streams: Streams, images: Tensor, amount: float) -> Drawn:
    return (streams.bits(tuple(images.shape[1:]), 0),)


def _moves(streams: Streams, images: Tensor, sigma: float, reach: int, rounds: int) -> Drawn:
    height, width = (size - 2 * reach for size in images.shape[2:])
    return (streams.integers((rounds, 2, height, width), 2 * reach, 0).sub_(reach),)


def _angles(streams: Streams, images: Tensor, *parameters: float) -> Drawn:
    return (streams.scalars(1, 0)[:, 0] * 90 - 45,)


def _flakes(streams: Streams, images: Tensor, mean: float, scale: float, zoom: float, *rest: float) -> Drawn:
    height, width = weather.snow_field(images.shape[2], images.shape[3], zoom)
    return streams.normals((height, width), 0), streams.scalars(1, 1)[:, 0] * 90 - 135


def _ice(streams: Streams, images: Tensor, *parameters: float) -> Drawn:
    return (frost.crops(streams.scalars(3, 0), images.shape[2], images.shape[3], images.device),)


def _clouds(streams: Streams, images: Tensor, *parameters: float) -> Drawn:
    return (streams.uniforms((weather.fog_field(images.shape[2], images.shape[3]) ** 2,), 0),)


def _displacements(streams: Streams, images: Tensor, alpha: float) -> Drawn:
    return (streams.uniforms((2, images.shape[2], images.shape[3]), 0),)


def _drops(streams: Streams, images: Tensor, *parameters: float) -> Drawn:
    return (streams.normals((images.shape[2], images.shape[3]), 0),)


def _one(*values: float) -> tuple[Parameters, ...]:
    return tuple((value,) for value in values)


# fmt: off
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption("noise", _one(0.08, 0.12, 0.18, 0.26, 0.38), noise.gaussian_noise, _normals),
    "shot_noise": Corruption("noise", _one(60, 25, 12, 5, 3), noise.shot_noise, _counts),
    "impulse_noise": Corruption("noise", _one(0.03, 0.06, 0.09, 0.17, 0.27), noise.impulse_noise, _bits),
    "defocus_blur": Corruption(
        "blur", ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)), blur.defocus_blur
    ),
    "glass_blur": Corruption(
        "blur", ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)), blur.glass_blur, _moves
    ),
    "motion_blur": Corruption(
        "blur", ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), blur.motion_blur, _angles
    ),
    "zoom_blur": Corruption(
        "blur", ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)), blur.zoom_blur
    ),
    "snow": Corruption("weather", (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ), weather.snow, _flakes),
    "frost": Corruption("weather", ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)), weather.frost, _ice),
    "fog": Corruption("weather", ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)), weather.fog, _clouds),
    "brightness": Corruption("weather", _one(0.1, 0.2, 0.3, 0.4, 0.5), digital.brightness),
    "contrast": Corruption("digital", _one(0.4, 0.3, 0.2, 0.1, 0.05), digital.contrast),
    "elastic_transform": Corruption(
        "digital", _one(250 * 0.05, 250 * 0.065, 250 * 0.085, 250 * 0.1, 250 * 0.12), digital.elastic_transform,
        _displacements,
    ),
    "pixelate": Corruption("digital", _one(0.6, 0.5, 0.4, 0.3, 0.25), digital.pixelate),
    "jpeg_compression": Corruption("digital", _one(25, 18, 15, 10, 7), digital.jpeg_compression),
    # the paper's extra four: for choosing settings, never part of a mean corruption error
    "speckle_noise": Corruption("noise", _one(0.15, 0.2, 0.35, 0.45, 0.6), noise.speckle_noise, _normals),
    "gaussian_blur": Corruption("blur", _one(1, 2, 3, 4, 6), blur.gaussian_blur),
    "spatter": Corruption("weather", (
        (0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1),
    ), spatter.spatter, _drops),
    "saturate": Corruption("digital", ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)), digital.saturate),
}
# fmt: on

NAMES: tuple[str, ...] = tuple(CORRUPTIONS)[:15]
EXTRA: tuple[str, ...] = tuple(CORRUPTIONS)[15:]
