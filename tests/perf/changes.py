"""What changing images costs beside encoding them: the patches, frequencies and colours of the robustness task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmark.backbones.execution import Execution
from benchmark.backbones.sources import open_backbone
from tasks.changes.colour import grey, histogram, turn_hue
from tasks.changes.frequency import bands
from tasks.changes.patches import drop_patches, shuffle_patches
from tasks.corruptions import digests
from tests.perf.corruptions import photos
from tests.perf.registry import Row, Setting, benchmark, seconds

ARCH = "mobilenetv2_100"  # a small network: with a larger one the share is smaller


@benchmark("changes")
def changes(setting: Setting) -> Iterator[Row]:
    """Seconds of all levels of each part, beside those of encoding as many images."""
    count = 8 if setting.quick else 32
    images = torch.from_numpy(photos(count)).permute(0, 3, 1, 2).contiguous().to(setting.device)
    keys = digests([str(index) for index in range(count)])
    backbone = open_backbone(f"random:{ARCH}", execution=Execution(device=setting.device.type))

    def occlusion() -> int:
        shares = [drop_patches(images, percent, keys, 0) for percent in range(10, 100, 10)]
        return len(shares + [shuffle_patches(images, grid, keys, 0) for grid in (2, 4, 8, 14)])

    def frequency() -> int:
        return 2 * len(list(bands(images, (4, 8, 16, 32, 64))))

    def colour() -> int:
        histogram(images, 4)
        return len([grey(images), *(turn_hue(images, degrees) for degrees in range(60, 360, 60))])

    def encode(x: Tensor) -> None:
        backbone.encode(x, layers=0)

    encode(images[:2])
    forward = min(seconds(partial(encode, images), setting)[0] for _ in range(3))
    parts: dict[str, Callable[[], int]] = {"occlusion": occlusion, "frequency": frequency, "colour": colour}
    for name, part in parts.items():
        part()
        ours, passes = min(seconds(part, setting) for _ in range(3))
        shape = f"{count} photos of 224 x 224, {passes} levels"
        yield Row.at_most(f"{name}: changing / encoding by {ARCH}", ours, passes * forward, 0.1, shape=shape)
