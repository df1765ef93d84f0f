"""Protocols of trained segmentation heads: UPerNet and FCN of mmseg, on an encoder that is trained with them or frozen.

Sources: mmseg's configs/mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py (BEiT's and MAE's recipe), configs/fcn/
fcn_r50-d8_4xb4-20k_voc12aug-512x512.py and fcn_r50-d8_4xb2-40k_cityscapes-769x769.py with their schedules.
"""

from __future__ import annotations

from typing import Any, Literal

from benchmark.backbones.backbone import Backbone
from tasks.openmmlab.schedule import Schedule
from tasks.segmentation.crops import ViewSettings


class TrainedSettings(ViewSettings, Schedule):
    """A head and how it is trained.

    Attributes:
        head: `upernet`, or `fcn` on a dilated residual network.
        frozen: the encoder's weights and statistics stay as they are.
        still_norm: BatchNorm of the encoder keeps the checkpoint's statistics while its weights are trained.
        drop_path: stochastic depth of a plain transformer.
        output_stride: of the dilated network, for `fcn`.
        width: channels of the head, for budgets on a CPU; None for the head's own.
        pixels: of each crop, that many are drawn to estimate the mean loss of all that have a class; 0 for the head's
            own loss of all pixels.
        whole: reported images are seen whole, where the encoder takes any size, and not under windows.
    """

    head: Literal["upernet", "fcn"]
    frozen: bool = False
    still_norm: bool = False
    drop_path: float = 0.0
    output_stride: Literal[8, 16] = 8
    width: int | None = None
    pixels: int = 0
    whole: bool = False

    def fitted(self, backbone: Backbone, plain: bool) -> TrainedSettings:
        """The settings for an encoder: layer decay and stochastic depth are of plain transformers that are trained."""
        if plain and not self.frozen:
            return self
        return self.model_copy(update={"layer_decay": 1.0, "drop_path": 0.0})


def _protocols() -> dict[str, TrainedSettings]:
    upernet: dict[str, Any] = {
        "head": "upernet",
        "iterations": 160_000,
        "lr": 1e-4,
        "weight_decay": 0.05,
        "layer_decay": 0.65,
        "drop_path": 0.1,
        "decay": "poly",
        "warmup": 1500,
        "warmup_start": 1e-6,
    }
    fcn: dict[str, Any] = {
        "head": "fcn",
        "optimizer": "sgd",
        "lr": 0.01,
        "weight_decay": 5e-4,
        "spare": "nothing",
        "decay": "poly",
        "power": 0.9,
        "floor": 0.01,
    }
    tiny = {
        **upernet,
        "version": 2,
        "iterations": 250,
        "batch": 4,
        "lr": 3e-3,
        "encoder_rate": 0.03,
        "still_norm": True,
        "warmup": 20,
        "pixels": 1024,
        "size": 224,
        "short": 256,
        "long": 512,
        "width": 64,
        "train_images": 1000,
    }
    named: dict[str, tuple[dict[str, Any], str]] = {
        "seg/upernet@tiny": (tiny, "UPerNet of 64 channels, 250 steps on 4 crops of 224 px, windows at test"),
        "seg/upernet": (upernet, "UPerNet, 160k steps on 16 crops of 512 px, windows at test, one scale"),
        "seg/fcn-voc": (
            {**fcn, "iterations": 20_000, "whole": True},
            "FCN on a dilated residual network, 20k steps; the field runs 5 seeds",
        ),
        "seg/fcn-cityscapes": (
            {**fcn, "iterations": 40_000, "size": 769, "short": 1025, "long": 2049},
            "the same for Cityscapes: 40k steps on crops of 769 px, windows at test",
        ),
    }
    found = {}
    for name, (settings, summary) in named.items():
        family, at, budget = name.partition("@")
        found[name] = TrainedSettings(name=name, summary=summary, **settings)
        still = f"{family}-frozen{at}{budget}"
        found[still] = TrainedSettings(
            name=still, summary=f"the same on a frozen encoder: {summary}", **{**settings, "frozen": True}
        )
    return found


PROTOCOLS = _protocols()
