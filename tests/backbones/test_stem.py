"""The first BatchNorm tells which pixels a network was trained on, and photos of another domain raise no alarm."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.stem import Seen, contradiction, seen_pixels

IMAGENET = Preprocessing()
HALF = IMAGENET.override(("mean=0.5", "std=0.5"))
PLAIN = IMAGENET.override(("mean=0", "std=1"))
RAW = IMAGENET.override(("mean=0", "std=1", "value_range=255"))
CAFFE = IMAGENET.override(("mean=103.53,116.28,123.675", "std=1", "value_range=255", "channel_order=bgr"))


def photos(number: int = 24, side: int = 96) -> Tensor:
    """(N, 3, H, W) uint8 of the spectrum that photos have (amplitude 1 / frequency), with ImageNet's mean and std."""
    draw = torch.Generator().manual_seed(0)
    frequency = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt()
    fall = (1 / frequency.clamp(min=1 / side)).repeat(number, 4, 1, 1)
    noise = torch.fft.irfft2(torch.fft.rfft2(torch.randn(number, 4, side, side, generator=draw)) * fall, s=(side, side))
    noise = noise / noise.std((0, 2, 3), keepdim=True)
    images = noise[:, :1] * 0.95 + noise[:, 1:] * math.sqrt(1 - 0.95**2)  # channels go together
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (IMAGENET.mean, IMAGENET.std))
    return ((images * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)


def trained(
    images: Tensor, preprocessing: Preprocessing, kernel: int = 7, names: str = "conv1 bn1"
) -> dict[str, Tensor]:
    """The stem of a network whose BatchNorm has seen these images once, under torch's own running statistics."""
    torch.manual_seed(kernel)
    conv = nn.Conv2d(3, 64, kernel, 2, kernel // 2, bias=False)
    norm = nn.BatchNorm2d(64, momentum=None).train()
    with torch.no_grad():
        norm(conv(preprocessing.normalise(images)))
    first, second = names.split()
    return {f"{second}.{name}": value for name, value in norm.state_dict().items()} | {
        f"{first}.weight": conv.weight.data
    }


@pytest.mark.parametrize("preprocessing", [IMAGENET, HALF, PLAIN, RAW, CAFFE])
@pytest.mark.parametrize(("kernel", "names"), [(7, "conv1 bn1"), (3, "stem.conv stem.bn"), (3, "0 1")])
def test_the_pixels_that_were_seen_are_recovered(preprocessing: Preprocessing, kernel: int, names: str) -> None:
    images = photos()
    seen = seen_pixels(trained(images, preprocessing, kernel, names))
    pixels = preprocessing.normalise(images)
    assert seen is not None
    spread = pixels.std((0, 2, 3)).mean()
    assert torch.allclose(torch.tensor(seen.mean), pixels.mean((0, 2, 3)), atol=0.25 * float(spread))
    assert seen.std == pytest.approx(float(spread), rel=0.25)


def test_pixels_without_mean_and_std_contradict_statistics_and_the_other_way_round() -> None:
    plain, standard = (seen_pixels(trained(photos(), way)) for way in (PLAIN, IMAGENET))
    assert plain and standard
    assert contradiction(IMAGENET, plain) == "mean=0 std=1"
    assert contradiction(PLAIN, plain) is None
    assert contradiction(PLAIN, standard) == "mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
    assert contradiction(IMAGENET, standard) is None
    assert contradiction(CAFFE, plain) == "mean=0 std=1"
    raw = seen_pixels(trained(photos(), RAW))
    assert raw and contradiction(IMAGENET, raw) == "mean=0 std=1 value_range=255"


def test_dark_and_flat_images_under_right_statistics_raise_no_alarm() -> None:
    images = photos().float()
    for brightness, contrast in ((0.15, 0.5), (1.6, 0.5), (1.0, 0.4)):
        middle = images.mean()
        other = ((images - middle) * contrast + middle * brightness).clamp(0, 255).to(torch.uint8)
        for way in (IMAGENET, HALF, PLAIN):
            seen = seen_pixels(trained(other, way))
            assert seen and contradiction(way, seen) is None


def test_nothing_is_said_of_stems_that_gathered_nothing() -> None:
    state = trained(photos(), IMAGENET)
    assert seen_pixels({**state, "bn1.running_mean": torch.zeros(64), "bn1.running_var": torch.ones(64)}) is None
    assert seen_pixels({**state, "bn1.running_mean": torch.randn(64)}) is None  # no one pixel explains these
    assert seen_pixels({**state, "conv1.bias": torch.zeros(64)}) is None
    assert seen_pixels({"conv1.weight": state["conv1.weight"]}) is None
    assert seen_pixels({"patch_embed.proj.weight": torch.ones(8, 3, 4, 4)}) is None
    assert seen_pixels({**state, "bn1.running_mean": torch.full((64,), math.nan)}) is None


@pytest.mark.data
@pytest.mark.parametrize("folder", ["coco128/images", "clothing10/train", "bccd/JPEGImages"])
def test_real_images_raise_an_alarm_under_wrong_statistics_only(folder: str, data_dir: Path) -> None:
    files = sorted(path for path in (data_dir / folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    shrink = Compose([Resize(160), CenterCrop(160), PILToTensor()])
    images = torch.stack([shrink(Image.open(path).convert("RGB")) for path in files[:: max(1, len(files) // 40)][:40]])
    for way in (IMAGENET, HALF, PLAIN, RAW, CAFFE):
        seen = seen_pixels(trained(images, way))
        assert isinstance(seen, Seen)
        assert contradiction(way, seen) is None
        if "bccd" not in folder and way is PLAIN:
            assert contradiction(IMAGENET, seen) == "mean=0 std=1"
