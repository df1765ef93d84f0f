"""Logistic regression on stored features: the penalty is chosen on held-out data, then everything is fitted again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmark.protocol import ProtocolSettings
from benchmark.task import Inputs, Predictions, SplitFeatures
from tasks.outputs import reported_rows
from tasks.selection import Criterion, Standardiser, criterion_score, curve, parts_of
from tasks.solvers.logistic import fit, fit_path
from tasks.solvers.path import Path
from tasks.solvers.temperature import fit_temperature

# Kornblith, Shlens & Le 2019 report the mean over classes on these; names are compared without case and punctuation.
_PER_CLASS = frozenset(
    {"aircraft", "fgvcaircraft", "caltech101", "pets", "oxfordpets", "oxfordiiitpet", "oxfordiiitpets"}
)
_PER_CLASS |= {"flowers", "flowers102", "oxfordflowers", "oxfordflowers102"}


class LogisticSettings(ProtocolSettings):
    """L2-regularised multinomial logistic regression: sum(cross-entropy) + lambda / 2 |W|^2 with a free bias.

    lambda is 1 / C of scikit-learn. Every candidate is solved to its optimum, where some published recipes stop at a
    fixed number of iterations. Several labels per image are fitted one-vs-rest.

    Attributes:
        lambda_min, lambda_max, lambdas: the path, log-spaced.
        standardise: whether features get zero mean and unit variance by the statistics of what is fitted.
        held_out: the fraction of train that candidates are judged on.
        own_val: whether the dataset's own val split, where there is one, takes its place; it joins the final fit.
        metric_by_dataset: whether selection and headline follow ssl-transfer's metric of the dataset.
    """

    lambda_min: float = 1e-6
    lambda_max: float = 1e5
    lambdas: int = 45
    standardise: bool = False
    held_out: float = 0.1
    own_val: bool = False
    metric_by_dataset: bool = False


def criterion_of(protocol: LogisticSettings, dataset: str, multilabel: bool) -> Criterion:
    """The metric that selection maximises and the headline shows."""
    if multilabel:
        return "mAP@11pt" if protocol.metric_by_dataset else "mAP"
    name = "".join(letter for letter in dataset.lower() if letter.isalnum())
    return "mean_per_class" if protocol.metric_by_dataset and name in _PER_CLASS else "top1"


@dataclass(frozen=True)
class LogisticHead:
    """A classifier whose penalty was chosen on held-out data, fitted again on all of train.

    Attributes:
        logits: (M, D) features -> (M, C).
        temperature: of temperature scaling, fitted on the held-out data; None with several labels per image.
        how, held_out: what the penalty was chosen on, and how many samples that are.
        details: JSON-able facts.
    """

    logits: Callable[[Tensor], Tensor]
    temperature: float | None
    how: str
    held_out: int
    details: dict[str, Any]


def predict_logistic(inputs: Inputs, protocol: LogisticSettings, seed: int) -> Predictions:
    """Chooses a penalty, fits again and predicts the reported split.

    Raises:
        NotApplicable: nothing can be held out.
    """
    head = fit_logistic(inputs, protocol, seed)
    scores = head.logits(inputs.test.features)
    table = reported_rows(inputs, scores, logits=not inputs.multilabel, temperature=head.temperature)
    return Predictions(table, head.how, head.held_out, head.details)


def fit_logistic(inputs: Inputs, protocol: LogisticSettings, seed: int) -> LogisticHead:
    """Chooses a penalty and fits again; the reported split is not looked at.

    Raises:
        NotApplicable: nothing can be held out.
    """
    parts = parts_of(inputs, protocol.held_out, protocol.own_val, seed)
    criterion = criterion_of(protocol, inputs.dataset, inputs.multilabel)
    columns = _fittable(parts.fit, len(inputs.classes), inputs.multilabel)
    prepare = _preparation(protocol, parts.fit)
    val = prepare(parts.val.features)
    path = fit_path(
        prepare(parts.fit.features),
        _targets(parts.fit, columns),
        torch.logspace(
            math.log10(protocol.lambda_min), math.log10(protocol.lambda_max), protocol.lambdas, dtype=torch.float64
        ),
        n_classes=len(columns),
        X_val=val,
        y_val=_targets(parts.val, columns),
        score=criterion_score(criterion),
        progress=inputs.progress,
    )
    chosen = path.best
    # Calibration is fitted on the model that has not seen the held-out part, and used on the final one.
    temperature = None if inputs.multilabel else fit_temperature(path.logits(val, chosen), parts.val.targets)
    prepare = _preparation(protocol, parts.everything)
    final = fit(
        prepare(parts.everything.features),
        _targets(parts.everything, columns),
        float(path.lambdas[chosen]),
        n_classes=len(columns),
    )
    details: dict[str, Any] = {
        "lambda": float(path.lambdas[chosen]),
        "criterion": criterion,
        "val_score": float(path.val_score[chosen]),
        "curve": curve(path),
        "temperature": temperature,
        "converged": bool(final.converged[0]),
        "objective_gap": float(final.gap[0]),
        "n_fit": len(parts.fit),
        "n_refit": len(parts.everything),
        "classes_not_held_out": _absent(inputs, parts.val),
        "classes_not_fitted": [
            inputs.classes[c] for c in sorted(set(range(len(inputs.classes))) - set(columns.tolist()))
        ],
    }
    return LogisticHead(
        logits=lambda features: _all_classes(final, prepare(features), columns, len(inputs.classes)),
        temperature=temperature,
        how=parts.how,
        held_out=len(parts.val),
        details=details,
    )


def _preparation(protocol: LogisticSettings, split: SplitFeatures) -> Callable[[Tensor], Tensor]:
    return Standardiser.of(split.features) if protocol.standardise else lambda features: features


def _fittable(split: SplitFeatures, classes: int, multilabel: bool) -> Tensor:
    """The classes that a classifier can be fitted for: with several labels, those with and without examples."""
    if not multilabel:
        return torch.arange(classes, device=split.targets.device)
    count = split.targets.sum(dim=0)
    return ((count > 0) & (count < len(split))).nonzero()[:, 0]


def _targets(split: SplitFeatures, columns: Tensor) -> Tensor:
    return split.targets if split.targets.ndim == 1 else split.targets[:, columns]


def _all_classes(path: Path, features: Tensor, columns: Tensor, classes: int) -> Tensor:
    """(M, C) logits; a class that could not be fitted says 0 of every image, which ranks none before another."""
    found = path.logits(features, 0)
    logits = torch.zeros(len(found), classes, dtype=found.dtype, device=found.device)
    logits[:, columns] = found
    return logits


def _absent(inputs: Inputs, split: SplitFeatures) -> list[str]:
    """The names of classes without a sample in `split`."""
    targets, classes = split.targets, len(inputs.classes)
    count = targets.sum(dim=0) if inputs.multilabel else torch.bincount(targets, minlength=classes)
    return _names(inputs, (count == 0).nonzero()[:, 0].tolist())


def _names(inputs: Inputs, indices: Iterable[int]) -> list[str]:
    return [inputs.classes[index] for index in indices]
