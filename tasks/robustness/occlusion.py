"""Reported images with patches dropped or shuffled: what is left of accuracy when parts or their places are lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import NotApplicable
from benchmark.metrics.changes import Kind
from benchmark.task import Predictions, ShiftInputs
from tasks.changes.patches import BLACK, drop_patches, shuffle_patches
from tasks.robustness.asked import asked_of
from tasks.robustness.changed import Levels, answered, answers
from tasks.robustness.judge import JudgeSettings, judge_of
from tasks.robustness.part import Part


class OcclusionSettings(JudgeSettings):
    """The head, the images, and how much of them is dropped or shuffled.

    Attributes:
        dropped: percent of the patches.
        grid: patches a side, for dropping.
        fill: what dropped patches show: `black` as in the paper's code, or the `mean` colour of the preprocessing.
        shuffled: patches a side, for shuffling.
    """

    dropped: Levels[Annotated[int, Field(ge=0, le=100)]] = (10, 20, 30, 40, 50, 60, 70, 80, 90)
    grid: int = Field(default=14, ge=2)
    fill: Literal["black", "mean"] = "black"
    shuffled: Levels[Annotated[int, Field(ge=1)]] = (2, 4, 8, 14)


def predict_occluded(inputs: ShiftInputs, protocol: OcclusionSettings, seed: int) -> Predictions:
    """Fits the head on train and predicts the reported images as they are and with patches dropped or shuffled.

    Raises:
        NotApplicable: there is no head, see `judge_of`.
        DataError: an image that cannot be read.
    """
    backbone = inputs.images.backbone
    judge = judge_of(inputs.features, protocol, seed)
    asked = asked_of(inputs, protocol.n)
    colour = BLACK if protocol.fill == "black" else mean_colour(backbone.preprocessing)
    kinds = {
        "drop": Kind(protocol.dropped, "patches dropped, %", clean=0),
        "shuffle": Kind(protocol.shuffled, "shuffled patches a side", clean=1),
    }

    def changes(pixels: Tensor, keys: Tensor) -> Iterator[tuple[str, int, Tensor]]:
        for place, percent in enumerate(protocol.dropped):
            yield "drop", place, drop_patches(pixels, percent, keys, seed, protocol.grid, colour)
        for place, grid in enumerate(protocol.shuffled):
            yield "shuffle", place, shuffle_patches(pixels, grid, keys, seed)

    found = answers(inputs, asked, judge, kinds, changes)
    table, details = answered(inputs, asked, judge, kinds, found)
    return Predictions(table, judge.how, judge.held_out, details)


def mean_colour(preprocessing: Preprocessing) -> tuple[int, ...]:
    """The grey levels nearest to what normalisation takes to 0: red, green, blue."""
    mean = preprocessing.mean if preprocessing.channel_order == "rgb" else preprocessing.mean[::-1]
    return tuple(min(255, max(0, round(255 * value / preprocessing.value_range))) for value in mean)


def _large_enough(protocol: OcclusionSettings, backbone: Backbone) -> None:
    least = max(protocol.grid, *protocol.shuffled)
    if min(backbone.preprocessing.size) < least:
        found = "x".join(map(str, backbone.preprocessing.size))
        raise NotApplicable(f"images of {least} pixels a side, one for each patch", found, "choose another size")


PART = Part(
    settings=OcclusionSettings,
    protocols=(
        OcclusionSettings(
            name="robust/occlusion", summary="10 to 90% of 14 x 14 patches dropped; 4 to 196 patches shuffled"
        ),
        OcclusionSettings(
            name="robust/occlusion/own-head",
            head="own",
            summary="the same by the checkpoint's own head over ImageNet",
        ),
    ),
    predict=predict_occluded,
    scorer="changes",
    headline="top1@changed",
    check_encoder=_large_enough,
)
