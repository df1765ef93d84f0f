"""How images of the checkpoint's family are normalised, in the words of mmdet's and mmseg's data preprocessors."""

from __future__ import annotations

from typing import Any, Literal

from benchmark.backbones.preprocessing import Preprocessing


def normalisation(preprocessing: Preprocessing, order: Literal["rgb", "bgr"] = "rgb") -> dict[str, Any]:
    """`mean`, `std` and the swap of channels for uint8 images, (3, H, W) in 0-255.

    mmdet and mmseg swap the channels first and then compute (x - mean) / std on pixels in 0-255. The checkpoint's
    statistics are of pixels up to `value_range`, in its own order of channels.

    Args:
        preprocessing: the checkpoint's.
        order: of the images that are fed in: `bgr` as mmcv's own loader reads them, `rgb` as the harness's does.
    """
    scale = 255 / preprocessing.value_range
    wanted = preprocessing.channel_order
    return {
        "mean": [value * scale for value in preprocessing.mean],
        "std": [value * scale for value in preprocessing.std],
        "bgr_to_rgb": (order, wanted) == ("bgr", "rgb"),
        "rgb_to_bgr": (order, wanted) == ("rgb", "bgr"),
    }
