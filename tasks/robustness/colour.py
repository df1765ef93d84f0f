"""Reported images without colour and with other colours, and how much colour tells and is held: see `histogram`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from benchmark.metrics.changes import Kind
from benchmark.task import Predictions, ShiftInputs
from tasks.changes.colour import grey, turn_hue
from tasks.robustness.asked import asked_of
from tasks.robustness.changed import Levels, answered, answers
from tasks.robustness.histogram import HistogramSettings, fit_colour_probe
from tasks.robustness.judge import judge_of
from tasks.robustness.part import Part


class ColourSettings(HistogramSettings):
    """The head, the images, the probes of colour, and what becomes of colours.

    Attributes:
        turned: degrees that are added to the hue.
    """

    turned: Levels[Annotated[int, Field(gt=0, lt=360, multiple_of=60)]] = (60, 120, 180, 240, 300)


def predict_recoloured(inputs: ShiftInputs, protocol: ColourSettings, seed: int) -> Predictions:
    """Fits the head on train and predicts the reported images as they are, in grey, and with their hues turned.

    The probes of colour learn from train; where the checkpoint's own head judges nothing does, and they are left out.

    Raises:
        NotApplicable: there is no head, see `judge_of`.
        DataError: an image that cannot be read.
    """
    judge = judge_of(inputs.features, protocol, seed)
    asked = asked_of(inputs, protocol.n)
    probe = fit_colour_probe(inputs, protocol, seed) if protocol.head != "own" else None
    kinds = {
        "grey": Kind((100,), "colour taken away, %", clean=0),
        "hue": Kind(protocol.turned, "hue turned by, degrees", clean=0),
    }

    def changes(pixels: Tensor, keys: Tensor) -> Iterator[tuple[str, int, Tensor]]:
        yield "grey", 0, grey(pixels)
        for place, degrees in enumerate(protocol.turned):
            yield "hue", place, turn_hue(pixels, degrees)

    device = asked.features.device
    seen = torch.zeros(len(asked), protocol.bins**3, device=device)

    def look(pixels: Tensor, here: np.ndarray) -> None:
        if probe is not None:
            seen[torch.from_numpy(here).to(device)] = probe.colours(pixels)

    found = answers(inputs, asked, judge, kinds, changes, look)
    histogram = None if probe is None else probe.asked(seen, asked.features)
    table, details = answered(inputs, asked, judge, kinds, found, histogram)
    if probe is not None:
        details["histogram"] = probe.details
    return Predictions(table, judge.how, judge.held_out, details)


PART = Part(
    settings=ColourSettings,
    protocols=(
        ColourSettings(
            name="robust/colour",
            summary="grey and turned hues; what colour alone tells, what is held of it",
        ),
        ColourSettings(
            name="robust/colour/own-head",
            head="own",
            summary="the same by the checkpoint's own head over ImageNet; no probes of colour",
        ),
    ),
    predict=predict_recoloured,
    scorer="changes",
    headline="top1@changed",
)
