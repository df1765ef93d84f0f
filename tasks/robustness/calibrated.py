"""How sure the head is of the reported images as they are, before and after temperature scaling."""

from __future__ import annotations

from dataclasses import replace

from benchmark.metrics.calibration import Spread, calibration_table
from benchmark.task import Inputs, Predictions
from tasks.outputs import log_odds, reported_rows, sums_of_squares
from tasks.robustness.asked import first_rows
from tasks.robustness.judge import Judge, JudgeSettings, judge_of
from tasks.robustness.part import Part, several_classes
from tasks.sampling import subset
from tasks.selection import parts_of
from tasks.solvers.temperature import fit_temperature


class CalibrationSettings(JudgeSettings):
    """The head, and the images."""


def predict_calibration(inputs: Inputs, protocol: CalibrationSettings, seed: int) -> Predictions:
    """Fits the head and a temperature on train and says how probable it finds each class of the reported images.

    Raises:
        NotApplicable: there is no head, see `judge_of`, or nothing of train can be held out.
        DataError: a score is not finite.
    """
    judge = judge_of(inputs, protocol, seed)
    temperature, how, held_out = _temperature(inputs, judge, protocol, seed)
    inputs = replace(inputs, test=subset(inputs.test, first_rows(inputs.test.ids, protocol.n)))
    logits = judge.logits(inputs.test.features)
    answers = reported_rows(inputs, logits, logits=True, temperature=temperature)
    spreads = {
        scaling: Spread(log_odds(logits, value), sums_of_squares(logits, value))
        for scaling, value in (("", 1.0), ("ts", temperature))
    }
    details = {"temperature": temperature, "head": judge.details, "images": len(inputs.test)}
    return Predictions(calibration_table(answers, spreads), how, held_out, details)


def _temperature(inputs: Inputs, judge: Judge, protocol: CalibrationSettings, seed: int) -> tuple[float, str, int]:
    """The temperature, what it was fitted on, and how many images those are.

    A head that brings none gets it from the images that the probe would be chosen on, which it does not learn from.
    """
    if judge.temperature is not None:
        return judge.temperature, judge.how, judge.held_out
    parts = parts_of(inputs, protocol.held_out, protocol.own_val, seed)
    before = judge_of(replace(inputs, train=parts.fit), protocol, seed)
    return fit_temperature(before.logits(parts.val.features), parts.val.targets), parts.how, len(parts.val)


PART = Part(
    settings=CalibrationSettings,
    protocols=(
        CalibrationSettings(
            name="robust/calibration",
            summary="calibration error, Brier score, selective risk of the head, before and after temperature scaling",
        ),
    ),
    predict=predict_calibration,
    scorer="calibration",
    headline="ece",
    needs=("pooled",),
    always_reads_train=True,
    check_labels=several_classes,
)
