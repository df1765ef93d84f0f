"""Stored robustness results of every kind, made without any model: right where an image is easier than the skill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmark.metrics.adversarial import Attack, adversarial_table
from benchmark.metrics.calibration import Spread, calibration_table
from benchmark.metrics.changes import Histogram, Kind, changes_table
from benchmark.metrics.columns import classification_table, join
from benchmark.metrics.corruptions import EXTRA, FIFTEEN, corruptions_table
from benchmark.metrics.ood import SCORES, ood_table
from benchmark.metrics.shape_bias import shape_bias_table
from benchmark.metrics.shift import shift_table
from benchmark.results.schema import Result
from leaderboard.charts.study import Study
from leaderboard.tables import Entry
from tests.leaderboard.stores import store_table

N, CLASSES = 120, 4
IDS = pa.array([f"i{k:03d}" for k in range(N)])
_RNG = np.random.default_rng(0)
TARGETS = _RNG.integers(CLASSES, size=N)
_HARD = _RNG.permutation(N) / N


def answers(skill: float) -> np.ndarray:
    """(N,) classes, right on a share `skill` of the images: on the same ones, and more, for a greater skill."""
    return np.where(skill > _HARD, TARGETS, (TARGETS + 1) % CLASSES)


def store(root: Path, model: str, table: pa.Table, scorer: str, headline: str, kind: str) -> Study:
    result = store_table(
        root, model, table, scorer, headline, dataset="photos", protocol=f"robust/{kind}", task="robustness"
    )
    return Study(Entry(root, result))


def store_corruptions(root: Path, model: str, skill: float, extra: bool = False) -> Study:
    """The skill falls by a tenth per severity, and by a hundredth per corruption in their order."""
    names = (*FIFTEEN, *EXTRA) if extra else FIFTEEN
    found = {
        name: np.stack([answers(skill - 0.1 * s - 0.01 * place) for s in range(1, 6)], axis=1)
        for place, name in enumerate(names)
    }
    table = corruptions_table(IDS, TARGETS, answers(skill), found, CLASSES)
    return store(root, model, table, "corruptions", "mean_error", "corruptions")


def store_occlusion(root: Path, model: str, skill: float) -> Study:
    kinds = {
        "drop": Kind((10, 50, 90), "patches dropped, %", clean=0),
        "shuffle": Kind((2, 4, 14, 28), "shuffled patches a side", clean=1),
    }
    found = {
        "drop": np.stack([answers(skill * share) for share in (0.9, 0.5, 0.1)], axis=1),
        "shuffle": np.stack([answers(skill * share) for share in (0.8, 0.6, 0.4, 0.2)], axis=1),
    }
    table = changes_table(IDS, TARGETS, answers(skill), kinds, found, CLASSES)
    return store(root, model, table, "changes", "top1@changed", "occlusion")


def store_colour(root: Path, model: str, skill: float) -> Study:
    kinds = {"grey": Kind((100,), "colour taken away, %", clean=0)}
    probe = Histogram(answers(0.3), np.full(N, 0.2), np.full(N, 0.8))
    table = changes_table(IDS, TARGETS, answers(skill), kinds, {"grey": answers(skill / 2)[:, None]}, CLASSES, probe)
    return store(root, model, table, "changes", "top1@changed", "colour")


def store_adversarial(root: Path, model: str, skill: float) -> Study:
    """AutoAttack on the first 30 images alone."""
    found = {Attack("pgd", eps): answers(skill * 0.5**eps) for eps in (1.0, 2.0, 4.0)}
    found |= {Attack("fgsm", eps): answers(skill * 0.8**eps) for eps in (1.0, 2.0)}
    strongest = answers(0.05 * skill)
    strongest[30:] = -1
    table = adversarial_table(IDS, TARGETS, answers(skill), {**found, Attack("autoattack", 4.0): strongest}, CLASSES)
    return store(root, model, table, "adversarial", "top1@autoattack-4", "adversarial")


def store_calibration(root: Path, model: str, skill: float) -> Study:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(N, CLASSES))
    logits[np.arange(N), answers(skill)] += 2.0
    ranked = np.argsort(-logits, axis=1)
    parts = {scaling: _softmax(scale * logits) for scaling, scale in (("", 2.0), ("ts", 0.7))}
    target = {scaling: part[np.arange(N), TARGETS] for scaling, part in parts.items()}
    table = classification_table(
        IDS,
        TARGETS,
        ranked,
        CLASSES,
        confidence=parts[""].max(axis=1),
        log_prob=np.log(target[""]),
        scaled_confidence=parts["ts"].max(axis=1),
        scaled_log_prob=np.log(target["ts"]),
    )
    spreads = {
        scaling: Spread(np.log(part.max(axis=1) / (1 - part.max(axis=1))), (part**2).sum(axis=1))
        for scaling, part in parts.items()
    }
    return store(root, model, calibration_table(table, spreads), "calibration", "ece", "calibration")


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def store_shift(root: Path, model: str, skill: float, shifted: float | None = None) -> Study:
    accepted = np.eye(CLASSES, dtype=bool)[TARGETS]
    elsewhere = answers(0.6 * skill if shifted is None else shifted)
    parts = [shift_table("clean", IDS, accepted, answers(skill)), shift_table("shifted", IDS, accepted, elsewhere)]
    return store(root, model, join(parts), "shift", "top1", "shift")


def store_shape_bias(root: Path, model: str, skill: float) -> Study:
    """Three categories; decided for the shape of a share `skill` of the images, else for the texture."""
    shape, texture = TARGETS % 3, (TARGETS % 3 + 1) % 3
    decided = np.where(skill > _HARD, shape, texture)
    table = shape_bias_table(IDS, shape, texture, decided, ("bear", "cat", "dog"))
    return store(root, model, table, "shape-bias", "shape_bias", "shape-bias")


def store_ood(root: Path, model: str, skill: float) -> Study:
    rng = np.random.default_rng(5)
    parts = [
        ood_table("inside", IDS, {name: rng.normal(2 * skill, 1, N) for name in SCORES}, CLASSES),
        ood_table("outside", IDS[:80], {name: rng.normal(0, 1, 80) for name in SCORES}, CLASSES),
    ]
    return store(root, model, join(parts), "ood", "auroc@knn", "ood")


STORES = (
    store_corruptions,
    store_occlusion,
    store_colour,
    store_adversarial,
    store_calibration,
    store_shift,
    store_shape_bias,
    store_ood,
)
"""One of each kind."""


def failed(study: Study) -> Result:
    """The study's result, had it failed."""
    error = {"kind": "DataError", "message": "an image was lost", "traceback": ""}
    raw = study.result.model_dump()
    return Result.model_validate({**raw, "status": "failed", "metrics": [], "error": error, "predictions": None})
