"""Images of something else: told apart from reported ones by how close they are to train and how sure the head is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field

from benchmark.errors import DataError, NotApplicable
from benchmark.metrics.columns import join
from benchmark.metrics.ood import ood_table
from benchmark.task import Inputs, Labels, Predictions, SplitFeatures
from tasks.outputs import log_odds
from tasks.robustness.asked import first_rows
from tasks.robustness.judge import Judge, JudgeSettings, judge_of
from tasks.robustness.part import Part, several_classes
from tasks.sampling import subset
from tasks.solvers.neighbours import search

NEIGHBOURS = 50
"""As Sun et al. 2022 for CIFAR-10 (run_cifar.py); for ImageNet they take 1,000 (or 10, on 1% of train)."""


class OodSettings(JudgeSettings):
    """The head; `n` counts reported images, and images of something else likewise.

    Attributes:
        k: the distance to the k-th nearest training image counts; all of them where there are fewer.
    """

    k: int = Field(NEIGHBOURS, ge=1)


def predict_ood(inputs: Inputs, protocol: OodSettings, seed: int) -> Predictions:
    """Scores reported images and those of the other source, higher for what looks like train.

    Raises:
        NotApplicable: there is no head, see `judge_of`.
        DataError: a score is not finite.
    """
    if inputs.shifted is None:
        raise RuntimeError("a pair of sources without the second")
    judge = judge_of(inputs, protocol, seed)
    k = min(protocol.k, len(inputs.train))
    tables = []
    for which, split in (("inside", inputs.test), ("outside", inputs.shifted)):
        asked = subset(split, first_rows(split.ids, protocol.n))
        tables.append(ood_table(which, asked.ids, _scores(inputs, asked, judge, k), len(inputs.classes)))
    details = {
        "head": judge.details,
        "k_used": k,
        "train_images": len(inputs.train),
        "inside_images": tables[0].num_rows,
        "outside_images": tables[1].num_rows,
    }
    return Predictions(join(tables), judge.how, judge.held_out, details)


def _scores(inputs: Inputs, asked: SplitFeatures, judge: Judge, k: int) -> dict[str, np.ndarray]:
    """(N,) of each score.

    * `knn`: the cosine to the k-th nearest training image, which falls as the distance of normalised features grows
      (Sun et al. 2022).
    * `energy`: log sum exp of the logits, the negative free energy at temperature 1 (Liu et al. 2020).
    * `msp`: the log-odds of the largest probability (Hendrycks & Gimpel 2017), which rise with it and never round to 1.
    """
    similarity, _ = search(inputs.train.features, asked.features, k, "cosine", inputs.progress)
    logits = judge.logits(asked.features)
    scores = {
        "knn": similarity[:, -1].double().cpu().numpy(),
        "energy": torch.logsumexp(logits.double(), dim=1).cpu().numpy(),
        "msp": log_odds(logits),
    }
    for name, values in scores.items():
        wrong = int((~np.isfinite(values)).sum())
        if wrong:
            raise DataError("finite scores", f"{wrong} of {name} that are not", "check the features")
    return scores


def _nothing_in_common(protocol: OodSettings, labels: Labels) -> None:
    """Stops where the second source has images of the dataset's own classes: those are not something else.

    Raises:
        NotApplicable: likewise.
    """
    several_classes(protocol, labels)
    if labels.shift is None:
        raise RuntimeError("asked without a pair of sources")
    shared = shared_names(labels.classes, labels.shift.classes)
    if labels.shift.accepted is not None:
        taken = np.flatnonzero(labels.shift.accepted.any(axis=0))
        shared += [labels.classes[place] for place in taken.tolist()]
    shared = list(dict.fromkeys(shared))
    if shared:
        shown = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
        raise NotApplicable(
            "images of other classes", f"{shown} in both", "leave these classes out of the second source"
        )


def shared_names(mine: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Those of my class names that are theirs too, whatever their case and punctuation."""
    known = {_plain(name) for name in theirs}
    return [name for name in mine if _plain(name) in known]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum()) or name


PART = Part(
    settings=OodSettings,
    protocols=(
        OodSettings(
            name="robust/ood",
            summary=f"images of something else (--shift) told apart by {NEIGHBOURS}-NN distance, energy and softmax",
        ),
    ),
    predict=predict_ood,
    scorer="ood",
    headline="auroc@knn",
    needs=("pooled",),
    always_reads_train=True,
    asks_shift=True,
    check_labels=_nothing_in_common,
)
