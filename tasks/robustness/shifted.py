"""Images from elsewhere: other photographers, sketches, renditions, another camera, other labels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmark.data.sample import digest_order
from benchmark.errors import NotApplicable
from benchmark.metrics.columns import join
from benchmark.metrics.shift import shift_table
from benchmark.task import Inputs, Labels, Predictions, SplitFeatures
from tasks.robustness.judge import JudgeSettings, judge_of
from tasks.robustness.part import Part


class ShiftSettings(JudgeSettings):
    """The head; `n` counts shifted images, and clean ones likewise."""


def predict_shifted(inputs: Inputs, protocol: ShiftSettings, seed: int) -> Predictions:
    """Judges shifted images, and clean ones of the same classes, by one head among those classes alone.

    ImageNet-A and -R have 200 of ImageNet's classes, ObjectNet 113: the head's logits of the others are left out for
    both (Hendrycks et al. 2021), so that the drop is not that of an easier question.

    Raises:
        NotApplicable: there is no head, see `judge_of`.
    """
    shift, shifted = inputs.shift, inputs.shifted
    if shift is None or shifted is None or shift.accepted is None:
        raise RuntimeError("a shift without shifted images of clean classes")
    judge = judge_of(inputs, protocol, seed)
    among = torch.from_numpy(shift.accepted.any(axis=0))
    clean_accepted = np.eye(len(inputs.classes), dtype=bool)[inputs.test.targets.cpu().numpy()]
    asked = {
        "clean": (inputs.test, clean_accepted & among.numpy()),
        "shifted": (shifted, shift.accepted_of(shifted.targets.cpu().numpy())),
    }
    tables = []
    for domain, (split, accepted) in asked.items():
        rows = np.flatnonzero(accepted.any(axis=1))
        if protocol.n is not None and protocol.n < len(rows):
            ids = split.ids.take(pa.array(rows))
            rows = rows[np.sort(digest_order(ids)[: protocol.n])]
        logits = judge.logits(_features(split, rows))
        predictions = logits.masked_fill(~among.to(inputs.device), -torch.inf).argmax(dim=1)
        tables.append(shift_table(domain, split.ids.take(pa.array(rows)), accepted[rows], predictions.cpu().numpy()))
        inputs.progress(len(tables), len(asked), domain)
    details = {
        "head": judge.details,
        "classes": int(among.sum()),
        "clean_images": tables[0].num_rows,
        "shifted_images": tables[1].num_rows,
    }
    return Predictions(join(tables), judge.how, judge.held_out, details)


def _features(split: SplitFeatures, rows: np.ndarray) -> Tensor:
    return split.features[torch.from_numpy(rows).to(split.features.device)]


def _classes_in_common(protocol: ShiftSettings, labels: Labels) -> None:
    if labels.shift is None or labels.shift.accepted is None:
        theirs = ", ".join(map(repr, labels.shift.classes[:3])) if labels.shift else "none"
        raise NotApplicable("shifted images of clean classes", f"classes {theirs} ...", "give NAME:map=FILE.yaml")
    among = np.asarray(labels.shift.accepted.any(axis=0))
    if not among[labels.reported].any():
        raise NotApplicable("reported clean images of the shifted classes", "none", "check the class map")


PART = Part(
    settings=ShiftSettings,
    protocols=(
        ShiftSettings(
            name="robust/shift", summary="images from elsewhere (--shift), among the classes that they can be of"
        ),
        ShiftSettings(
            name="robust/shift/own-head", head="own", summary="the same by the checkpoint's own head over ImageNet"
        ),
    ),
    predict=predict_shifted,
    scorer="shift",
    headline="top1",
    needs=("pooled",),
    asks_shift=True,
    check_labels=_classes_in_common,
)
