"""Preprocessing belongs to the checkpoint: how a photo becomes the numbers that its encoder was trained on."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from benchmark.backbones.options import boolean, number
from benchmark.errors import BackboneError, nearest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ASSUMED = "assumed: ImageNet statistics, the file declares none"

# A photo of 1 x 5000 pixels becomes one of 256 x 1,280,000 when its short side is resized: refused above this area.
MAX_RESIZED_PIXELS = 200_000_000

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
INTERPOLATIONS: tuple[str, ...] = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")

# Pillow's nearest takes the pixel centre, which torch calls nearest-exact; torch has no lanczos, box or hamming.
_TENSOR_MODES = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


class Preprocessing(BaseModel):
    """From a photo to the encoder's input.

    Attributes:
        size: (h, w) of the encoder's input, in pixels.
        crop_pct: crop over resized short side: the short side becomes floor(size / crop_pct), then a centre crop.
        interpolation: the filter of the resize.
        antialias: Pillow always antialiases; False resizes as torch does without it (as OpenCV and TensorFlow do).
        mean, std: per channel, in the channel order and the value range of the encoder.
        channel_order: `bgr` for encoders trained on images read by OpenCV.
        value_range: the value of white before mean and std are applied: 1 or 255.
        mode: `crop` keeps the aspect; `squash` resizes both sides on their own before the centre crop.
        source: where these values come from, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int] = (224, 224)
    crop_pct: float = 0.875
    interpolation: Interpolation = "bicubic"
    antialias: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: Literal["rgb", "bgr"] = "rgb"
    value_range: Literal[1, 255] = 1
    mode: Literal["crop", "squash"] = "crop"
    source: str = ASSUMED

    @model_validator(mode="after")
    def _sane(self) -> Preprocessing:
        """Refuses values that give numbers, but wrong ones."""
        found = {name: str(getattr(self, name)) for name in ("size", "crop_pct", "mean", "std")}
        if not all(1 <= side <= 8192 for side in self.size):
            raise BackboneError(
                "an input size of 1 to 8192 pixels", f"size={found['size']}", "give size=224 or 224x192"
            )
        if not 0 < self.crop_pct <= 1:
            raise BackboneError("0 < crop_pct <= 1", f"crop_pct={found['crop_pct']}", "0.875 is 224 cropped out of 256")
        if not all(math.isfinite(v) for v in (*self.mean, *self.std)):
            raise BackboneError("finite mean and std", f"mean={found['mean']} std={found['std']}", "correct them")
        if min(self.std) <= 0:
            raise BackboneError("std > 0 in every channel", f"std={found['std']}", "use std=1 for no scaling")
        if self.value_range == 1 and (max(self.mean) > 1 or max(self.std) > 5):
            raise BackboneError(
                "statistics of pixels in [0, 1]",
                f"mean={found['mean']} std={found['std']}",
                "add value_range=255 if they are of pixels in [0, 255]",
            )
        if self.value_range == 255 and any(0 < abs(v) < 1 for v in self.mean):
            raise BackboneError(
                "statistics of pixels in [0, 255]", f"mean={found['mean']}", "leave out value_range=255, or scale them"
            )
        return self

    @property
    def resized(self) -> tuple[int, int]:
        """(h, w) that the resize aims at, before the crop; timm's floor, safe against 224 / (224 / 232) = 231.99."""
        height, width = (math.floor(side / self.crop_pct + 1e-6) for side in self.size)
        return height, width

    def override(self, settings: Sequence[str]) -> Preprocessing:
        """This preprocessing with a user's `key=value` settings; the order of the settings does not matter.

        Raises:
            BackboneError: an unknown key, a key given twice, or a value that is not one.
        """
        values: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = (part.strip() for part in setting.partition("="))
            if not equals:
                raise BackboneError("preprocessing as key=value", repr(setting), "write for instance mean=0.5")
            if name not in _READERS:
                raise BackboneError("a preprocessing key", repr(name), nearest(name, _READERS))
            if name in values:
                raise BackboneError("each preprocessing key once", f"{name} given twice", "leave one of them out")
            values[name] = _READERS[name](name, text)
        return self._changed("user", values)

    def pinned(self, crop_pct: float | None = None) -> Preprocessing:
        """This preprocessing under a protocol that fixes the crop fraction (None leaves it as it is)."""
        if crop_pct is None or crop_pct == self.crop_pct:
            return self
        return self._changed("protocol", {"crop_pct": crop_pct})

    def squashed(self, size: tuple[int, int]) -> Preprocessing:
        """This preprocessing for a whole image squashed to `size`, as dense protocols see it: nothing is cut away."""
        return self._changed("protocol", {"size": size, "crop_pct": 1.0, "mode": "squash"})

    def cut_by_protocol(self, size: tuple[int, int]) -> Preprocessing:
        """These statistics for a protocol that resizes and crops images on its own and opens encoders for `size`."""
        return self._changed("protocol", {"size": size, "crop_pct": 1.0})

    def _changed(self, who: str, values: Mapping[str, Any]) -> Preprocessing:
        if not values:
            return self
        return Preprocessing(
            **{**self.model_dump(), **values, "source": f"{self.source}; {who}: {', '.join(sorted(values))}"}
        )

    def key(self) -> str:
        """Hex digest of everything that changes the numbers (not of `source`)."""
        text = self.model_dump_json(exclude={"source"})
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def geometry_key(self) -> str:
        """Hex digest of what `geometry` depends on: equal digests give equal pixels."""
        text = self.model_dump_json(include={"size", "crop_pct", "interpolation", "antialias", "mode"})
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _resize_to(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the whole image after the resize, rounded as torchvision (square) and timm (oblong) round."""
        target_h, target_w = self.resized
        if self.mode == "squash":
            return target_h, target_w
        if target_h == target_w:
            short, long = min(height, width), max(height, width)
            other = int(target_h * long / short)
            new = (other, target_w) if width <= height else (target_h, other)
        else:
            ratio = min(height / target_h, width / target_w)
            new = (round(height / ratio), round(width / ratio))
        if new[0] * new[1] > MAX_RESIZED_PIXELS:
            raise BackboneError(
                "a photo that is not a thin strip",
                f"one of {width} x {height} pixels, which becomes {new[1]} x {new[0]}",
                "leave it out, or use --preprocess mode=squash",
            )
        return new

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        """(top, left) of the centre crop, rounded half to even as torchvision does."""
        return round((height - self.size[0]) / 2.0), round((width - self.size[1]) / 2.0)

    def geometry(self, image: Image.Image) -> np.ndarray:
        """Resizes and crops a photo as torchvision's `Resize` and `CenterCrop` (and timm's evaluation) do on Pillow.

        Args:
            image: 8-bit RGB.

        Returns:
            (3, H, W) uint8, contiguous, in RGB whatever the channel order of the encoder.

        Raises:
            BackboneError: the image is not RGB, or too thin a strip to be resized.
        """
        if image.mode != "RGB":
            raise BackboneError("an RGB image", f"mode {image.mode!r}", "convert it to RGB when it is read")
        new = self._resize_to(image.height, image.width)
        if not self.antialias and self.interpolation in ("bilinear", "bicubic"):
            whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            return np.ascontiguousarray(self.fit(whole[None])[0].numpy())
        if new != (image.height, image.width):
            image = image.resize((new[1], new[0]), Image.Resampling[self.interpolation.upper()])
        top, left = self._corner(*new)
        height, width = self.size
        if (height, width) != new:
            image = image.crop((left, top, left + width, top + height))
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

    def fit(self, images: Tensor) -> Tensor:
        """Resizes and crops a batch of tensors of any size to (B, 3, H, W); a batch of the right size is left alone.

        Args:
            images: (B, 3, h, w), uint8 or float in [0, 1].

        Raises:
            BackboneError: the interpolation exists in Pillow only.
        """
        height, width = images.shape[-2:]
        if (height, width) == self.size:
            return images
        if self.interpolation not in _TENSOR_MODES:
            raise BackboneError(
                "photos resized by Pillow",
                f"tensors with interpolation={self.interpolation}",
                "use bicubic or bilinear",
            )
        new = self._resize_to(height, width)
        mode = _TENSOR_MODES[self.interpolation]
        images = tv.resize(images, list(new), mode, antialias=self.antialias)
        if images.is_floating_point():
            images = images.clamp(0, 1)  # a bicubic filter overshoots
        top, left = self._corner(*new)
        return images[..., top : top + self.size[0], left : left + self.size[1]]

    def normalise(self, images: Tensor) -> Tensor:
        """Pixels in RGB to the encoder's input: channel order, value range, mean and std.

        Args:
            images: (B, 3, H, W), uint8 or float in [0, 1].

        Returns:
            (B, 3, H, W) float32 on the same device.
        """
        # One subtraction and one division, whatever the ranges: (x * range / white - mean) / std.
        white = 255.0 if images.dtype == torch.uint8 else 1.0
        mean, std = _statistics(self.mean, self.std, white / self.value_range, images.device)
        if self.channel_order == "bgr":
            images = images.flip(1)
        # Converting first and then working in place is several times faster than subtracting from uint8.
        x = images.to(torch.float32, copy=True)
        return x.sub_(mean).div_(std)


@functools.lru_cache(maxsize=64)
def _statistics(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and std (1, 3, 1, 1) on the device, in the units of the pixels given."""
    with torch.inference_mode(False):  # cached: must be usable with and without autograd
        rows = torch.tensor([mean, std], dtype=torch.float64) * scale
        moved = rows.to(device=device, dtype=torch.float32).view(2, 1, 3, 1, 1)
        return moved[0], moved[1]


def _triple(name: str, text: str) -> tuple[float, ...]:
    """`0.5` -> three of them; `0.485,0.456,0.406` -> those."""
    parts = [number(name, part) for part in text.strip("()[] ").split(",")]
    if len(parts) not in (1, 3):
        raise BackboneError(f"one number or three for {name}", repr(text), f"write {name}=0.5 or {name}=0.1,0.2,0.3")
    return tuple(parts * 3 if len(parts) == 1 else parts)


def _size(name: str, text: str) -> tuple[int, ...]:
    """`224` -> (224, 224); `224x192` or `224,192` -> (h, w)."""
    parts = text.strip("()[] ").replace("x", ",").split(",")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise BackboneError("a size in pixels", f"{name}={text}", "write size=224 or size=224x192 (height x width)")
    sides = [int(part) for part in parts]
    return tuple(sides * 2 if len(sides) == 1 else sides)


def _value_range(name: str, text: str) -> int:
    value = number(name, text)
    if value not in (1, 255):
        raise BackboneError("value_range=1 or value_range=255", f"{name}={text}", "choose one")
    return int(value)


def _one_of(*allowed: str) -> Callable[[str, str], str]:
    def read(name: str, text: str) -> str:
        value = text.lower()
        if value not in allowed:
            raise BackboneError(f"a value of {name}", repr(text), nearest(value, allowed))
        return value

    return read


_READERS: dict[str, Callable[[str, str], Any]] = {
    "size": _size,
    "crop_pct": number,
    "interpolation": _one_of(*INTERPOLATIONS),
    "antialias": boolean,
    "mean": _triple,
    "std": _triple,
    "channel_order": _one_of("rgb", "bgr"),
    "value_range": _value_range,
    "mode": _one_of("crop", "squash"),
}
