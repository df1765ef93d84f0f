"""Shape or texture: images with the shape of one category and the texture of another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import DataError, NotApplicable, nearest
from benchmark.metrics.shape_bias import shape_bias_table
from benchmark.task import Inputs, Labels, Predictions, SplitFeatures
from tasks.robustness.judge import JudgeSettings, judge_of
from tasks.robustness.part import Part

_NAME = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")


class ShapeBiasSettings(JudgeSettings):
    """The head: class means of the categories by default, which needs no head and no probe."""

    head: Literal["probe", "mean", "own"] = "mean"


def predict_shape_bias(inputs: Inputs, protocol: ShapeBiasSettings, seed: int) -> Predictions:
    """Decides for one category per image; shape bias counts decisions for its shape and for its texture.

    A head over finer classes decides for the category whose classes have the largest mean probability (Geirhos et al.,
    probabilities_to_decision.py); class means are those of the categories.

    Raises:
        DataError: a file that is not named `shapeN-textureM`, or that lies in another category's folder.
        NotApplicable: there is no head, see `judge_of`.
    """
    shift, shifted = inputs.shift, inputs.shifted
    if shift is None or shifted is None or shift.accepted is None:
        raise RuntimeError("a shift without shifted images of clean classes")
    ids = shifted.ids.to_pylist()
    shape, texture = cues(ids, shift.classes, shifted.targets.cpu().numpy())
    accepted = torch.from_numpy(shift.accepted).to(inputs.device)
    if protocol.head == "mean":
        judge = judge_of(_of_categories(inputs, accepted, shift.classes), protocol, seed)
        scores = judge.logits(shifted.features)
    else:
        judge = judge_of(inputs, protocol, seed)
        probabilities = judge.logits(shifted.features).double().softmax(dim=1)
        scores = probabilities @ accepted.double().T / accepted.sum(dim=1)
    decided = scores.argmax(dim=1).cpu().numpy()
    if not ((decided == shape) | (decided == texture))[shape != texture].any():
        raise DataError("decisions for the shape or the texture of some image", "none", "check the head and the images")
    inputs.progress(1, 1, "decisions")
    table = shape_bias_table(shifted.ids, shape, texture, decided, shift.classes)
    details = {"head": judge.details, "images": len(ids), "conflicts": int((shape != texture).sum())}
    return Predictions(table, judge.how, judge.held_out, details)


def cues(ids: Sequence[str], categories: Sequence[str], folders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The categories of shape and texture of each image, both (N,), from names as in `airplane1-bicycle2.png`.

    Args:
        ids: relative paths.
        categories: names.
        folders: (N,) the category of each image's folder, which is that of its shape.

    Raises:
        DataError: another name, an unknown category, or an image in another folder than its shape's.
    """
    places = {name: k for k, name in enumerate(categories)}
    shape, texture = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
    for row, key in enumerate(ids):
        matched = _NAME.fullmatch(PurePosixPath(key).stem)
        if matched is None:
            raise DataError("cue-conflict files named shapeN-textureM.png", repr(key), "rename or remove it")
        for name in matched.groups():
            if name not in places:
                raise DataError("categories that have a folder", f"{name!r} in {key!r}", nearest(name, places))
        shape[row], texture[row] = (places[name] for name in matched.groups())
    astray = np.flatnonzero(shape != folders)
    if len(astray):
        found = f"{ids[astray[0]]!r} in the folder of {categories[folders[astray[0]]]!r}"
        raise DataError("images in the folder of their shape", found, "move it")
    return shape, texture


def _of_categories(inputs: Inputs, accepted: Tensor, categories: tuple[str, ...]) -> Inputs:
    """Training images of some category, with it as their class."""
    train = inputs.train
    kept = accepted.any(dim=0)[train.targets].nonzero()[:, 0]
    targets = accepted.int().argmax(dim=0)[train.targets[kept]]
    ids = train.ids.take(kept.cpu().numpy())
    return replace(inputs, train=SplitFeatures(train.features[kept], targets, ids), classes=categories)


def _categories(protocol: ShapeBiasSettings, labels: Labels) -> None:
    if labels.shift is None or labels.shift.accepted is None:
        raise NotApplicable("cue-conflict images of clean classes", "none", "give NAME:map=16-classes for ImageNet")
    several = labels.shift.accepted.sum(axis=0) > 1
    if several.any():
        found = f"{labels.classes[int(several.argmax())]!r} in two"
        raise NotApplicable("classes of one category each", found, "mend the class map")
    assert labels.shifted is not None
    if not any(_NAME.fullmatch(PurePosixPath(key).stem) for key in labels.shifted.ids.to_pylist()):
        found = f"{labels.shifted.ids[0].as_py()!r}"
        raise NotApplicable("cue-conflict files named shapeN-textureM.png", found, "use a cue-conflict folder")


PART = Part(
    settings=ShapeBiasSettings,
    protocols=(
        ShapeBiasSettings(
            name="robust/shape-bias",
            summary="cue-conflict images (--shift), by the nearest class mean: shape or texture",
        ),
        ShapeBiasSettings(
            name="robust/shape-bias/own-head", head="own", summary="the same by the checkpoint's own head over ImageNet"
        ),
    ),
    predict=predict_shape_bias,
    scorer="shape-bias",
    headline="shape_bias",
    needs=("pooled",),
    asks_shift=True,
    check_labels=_categories,
)
