"""What a network's first BatchNorm remembers of the pixels that it was trained on.

Behind a convolution without a bias the running mean of channel o is, but for the border, the sum over the three input
channels of S[o, c] m[c], where S is the sum of the kernel and m the mean pixel that the network saw: 64 equations for
three unknowns. The running variance is w' C w with C the covariance of the pixels of a patch, which photos have in
common but for one factor. So a file of no declared preprocessing still says whether it saw pixels in [0, 1], in 0..255
or standardised ones: on photos of COCO and of clothes under all of these the mean comes out within 0.05 of [0, 1] and
the standard deviation within a quarter (the tests repeat it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.backbones.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

# The last part of a stem convolution's name -> that of the BatchNorm directly behind it.
_BEHIND = {"conv1": "bn1", "conv_stem": "bn1", "conv": "bn", "0": "1"}
# Photos: the correlation of two pixels of one channel falls as exp(-d / 20 pixels), that of two channels is 0.9.
_REACH, _CHANNELS = 20.0, 0.9
_EXPLAINED = 0.95  # of the running means must follow from one mean pixel (photos: 0.99), else they are of another kind
# How far a domain (cells, satellites, radiographs) may lie from ImageNet's photos, and how near a guess has to be: in
# brightness, as standard deviations, and in contrast, as a factor.
_FAR_MEAN, _FAR_STD = 2.0, 3.0
_NEAR_MEAN, _NEAR_STD = 1.0, 1.6


@dataclass(frozen=True)
class Seen:
    """The pixels that a network was trained on, as they reached it.

    Attributes:
        mean: per channel, in the order and range of the network.
        std: one for all channels.
    """

    mean: tuple[float, float, float]
    std: float

    def __str__(self) -> str:
        return (
            f"a mean of {', '.join(f'{value:.2g}' for value in self.mean)} and a standard deviation of {self.std:.2g}"
        )


def seen_pixels(state: Mapping[str, Tensor]) -> Seen | None:
    """What the stem says, None where there is none of this kind or its statistics were never gathered.

    Args:
        state: an encoder's tensors; the convolution (O, 3, k, k) is found by its shape and its BatchNorm by its name.
    """
    for name, kernel in state.items():
        path, _, leaf = name.rpartition(".")
        owner, _, last = path.rpartition(".")
        if leaf != "weight" or last not in _BEHIND or kernel.ndim != 4 or kernel.shape[1] != 3:
            continue
        norm = f"{owner}.{_BEHIND[last]}" if owner else _BEHIND[last]
        mean, variance = state.get(f"{norm}.running_mean"), state.get(f"{norm}.running_var")
        if mean is None or variance is None or f"{path}.bias" in state or len(mean) != len(kernel):
            continue
        return _solved(kernel.double(), mean.double(), variance.double())
    return None


def contradiction(preprocessing: Preprocessing, seen: Seen) -> str | None:
    """What the pixels look like instead, as `--preprocess` takes it; None where they may well be those of
    `preprocessing`, or of nothing known.
    """
    if _agree(seen, preprocessing, _FAR_MEAN, _FAR_STD):
        return None
    for settings in (
        ("mean=0", "std=1"),
        (f"mean={_listed(IMAGENET_MEAN)}", f"std={_listed(IMAGENET_STD)}"),
        ("mean=0.5", "std=0.5"),
        ("mean=123.675,116.28,103.53", "std=1", "value_range=255"),
        ("mean=0", "std=1", "value_range=255"),
    ):
        plain = preprocessing.model_copy(update={"value_range": 1, "channel_order": "rgb"})
        if _agree(seen, plain.override(settings), _NEAR_MEAN, _NEAR_STD):
            return " ".join(settings)
    return None


def _agree(seen: Seen, preprocessing: Preprocessing, brightness: float, contrast: float) -> bool:
    """Whether photos under `preprocessing` look as what was seen, up to so many deviations and such a factor."""
    scale = torch.tensor(preprocessing.std).reciprocal() * preprocessing.value_range
    photo, spread = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    if preprocessing.channel_order == "bgr":
        photo, spread = photo.flip(0), spread.flip(0)
    shift = torch.tensor(preprocessing.mean) / preprocessing.value_range
    mean, std = (photo - shift) * scale, float((spread * scale).mean())
    away = float((torch.tensor(seen.mean) - mean).square().mean().sqrt()) / std
    return away < brightness and 1 / contrast < seen.std / std < contrast


def _solved(kernel: Tensor, mean: Tensor, variance: Tensor) -> Seen | None:
    """Mean and deviation of the pixels from (O, 3, k, k), (O,) and (O,)."""
    if not all(bool(torch.isfinite(part).all()) for part in (kernel, mean, variance)) or not bool(mean.any()):
        return None
    sums = kernel.sum((2, 3))
    pixel = torch.linalg.pinv(sums) @ mean
    if float((mean - sums @ pixel).square().sum() / mean.square().sum()) > 1 - _EXPLAINED:
        return None
    rows, columns = (torch.arange(size, dtype=kernel.dtype) for size in kernel.shape[2:])
    places = torch.cartesian_prod(rows, columns)
    alike = torch.exp(-torch.cdist(places, places) / _REACH)
    channels = torch.full((3, 3), _CHANNELS, dtype=kernel.dtype).fill_diagonal_(1.0)
    flat = kernel.flatten(2)
    unit = torch.einsum("oci,ij,odj,cd->o", flat, alike, flat, channels)  # the variance under pixels of deviation 1
    alive = unit > unit.max() * 1e-3
    red, green, blue = (float(value) for value in pixel)
    return Seen((red, green, blue), float((variance[alive] / unit[alive]).sqrt().median()))


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
