"""Reported images without their high or their low spatial frequencies: which bands a classification rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field
from torch import Tensor

from benchmark.backbones.backbone import Backbone
from benchmark.errors import NotApplicable
from benchmark.metrics.changes import Kind
from benchmark.task import Predictions, ShiftInputs
from tasks.changes.frequency import bands, highest_frequency
from tasks.robustness.asked import asked_of
from tasks.robustness.changed import Levels, answered, answers
from tasks.robustness.judge import JudgeSettings, judge_of
from tasks.robustness.part import Part


class FrequencySettings(JudgeSettings):
    """The head, the images, and where their spectrum is cut.

    Attributes:
        cutoffs: cycles per image, up to half the pixels of the shorter side.
    """

    cutoffs: Levels[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = (4, 8, 16, 32, 64)


def predict_filtered(inputs: ShiftInputs, protocol: FrequencySettings, seed: int) -> Predictions:
    """Fits the head on train and predicts the reported images as they are, low-passed and high-passed.

    Raises:
        NotApplicable: there is no head, see `judge_of`.
        DataError: an image that cannot be read.
    """
    backbone = inputs.images.backbone
    judge = judge_of(inputs.features, protocol, seed)
    asked = asked_of(inputs, protocol.n)
    highest = round(highest_frequency(*backbone.preprocessing.size), 1)
    kinds = {
        "low-pass": Kind(protocol.cutoffs, "frequencies below, cycles per image", clean=highest),
        "high-pass": Kind(protocol.cutoffs, "frequencies from, cycles per image", clean=0),
    }

    def changes(pixels: Tensor, keys: Tensor) -> Iterator[tuple[str, int, Tensor]]:
        for place, (low, high) in enumerate(bands(pixels, protocol.cutoffs)):
            yield "low-pass", place, low
            yield "high-pass", place, high

    found = answers(inputs, asked, judge, kinds, changes)
    table, details = answered(inputs, asked, judge, kinds, found)
    return Predictions(table, judge.how, judge.held_out, details)


def _band_wide_enough(protocol: FrequencySettings, backbone: Backbone) -> None:
    least = 2 * max(protocol.cutoffs)
    if min(backbone.preprocessing.size) < least:
        found = "x".join(map(str, backbone.preprocessing.size))
        expected = f"images of {least:g} pixels a side, which have {max(protocol.cutoffs):g} cycles"
        raise NotApplicable(expected, found, "choose lower cutoffs or another size")


PART = Part(
    settings=FrequencySettings,
    protocols=(
        FrequencySettings(name="robust/frequency", summary="low-passed and high-passed at 4 to 64 cycles per image"),
        FrequencySettings(
            name="robust/frequency/own-head",
            head="own",
            summary="the same by the checkpoint's own head over ImageNet",
        ),
    ),
    predict=predict_filtered,
    scorer="changes",
    headline="top1@changed",
    check_encoder=_band_wide_enough,
)
