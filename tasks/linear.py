"""Linear classifiers on stored features: logistic regression over a path of penalties, and big_vision's ridge."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmark.errors import NotApplicable
from benchmark.task import Inputs, Predictions, ProtocolSettings, Task
from tasks.outputs import reported_rows
from tasks.ridge import RidgeSettings, predict_ridge
from tasks.selection import Criterion, Parts, Standardiser, criterion_score, curve, parts_of
from tasks.solvers.logistic import Path, fit, fit_path
from tasks.solvers.temperature import fit_temperature

# Kornblith, Shlens & Le 2019 report the mean over classes on these; names are compared without case and punctuation.
_PER_CLASS = frozenset({"aircraft", "fgvcaircraft", "caltech101", "pets", "oxfordpets", "oxfordiiitpet"})
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


class Linear(Task):
    """A linear classifier whose penalty is chosen on data held out of train, then fitted again on all of it."""

    name = "linear"
    summary = "logistic regression, 45 penalties chosen on 10% of train, calibration before and after temperature scaling"
    protocols: ClassVar = {
        "logreg/sweep": LogisticSettings(
            name="logreg/sweep", standardise=True, summary="features standardised on train, 45 lambdas in 1e-6..1e5"
        ),
        "logreg/dinov2": LogisticSettings(
            name="logreg/dinov2",
            lambda_min=1e-5,
            lambda_max=1e6,
            crop_pct=1.0,
            summary="C = 10^linspace(-6, 5, 45), no standardisation, Resize 224 + crop 224",
        ),
        "logreg/ssl-transfer": LogisticSettings(
            name="logreg/ssl-transfer",
            held_out=0.2,
            own_val=True,
            metric_by_dataset=True,
            crop_pct=1.0,
            summary="own val split or 20% of train, refit on train + val, metric by dataset, Resize 224 + crop 224",
        ),
        "ridge/big-vision": RidgeSettings(
            name="ridge/big-vision", summary="least squares on 1, 5, 10, 25 images per class, 3 draws"
        ),
    }
    multilabel = True

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """Top-1 or mAP; what ssl-transfer quotes for the dataset under its protocol; 10 shots for ridge."""
        if isinstance(protocol, RidgeSettings):
            return protocol.headline
        assert isinstance(protocol, LogisticSettings)
        return _criterion(protocol, dataset, multilabel)

    def check(self, protocol: ProtocolSettings, targets: Tensor, classes: tuple[str, ...], multilabel: bool) -> None:
        """Images per class have no meaning where an image has several.

        Raises:
            NotApplicable: ridge on multi-label data.
        """
        super().check(protocol, targets, classes, multilabel)
        if multilabel and isinstance(protocol, RidgeSettings):
            raise NotApplicable("one label per image", "a multi-label dataset", f"{protocol.name} has no meaning there")

    def predict(self, inputs: Inputs, protocol: ProtocolSettings, seed: int) -> Predictions:
        """Chooses, fits again and predicts the reported split.

        Raises:
            NotApplicable: nothing can be held out.
        """
        if isinstance(protocol, RidgeSettings):
            return predict_ridge(inputs, protocol, seed)
        assert isinstance(protocol, LogisticSettings)
        parts = parts_of(inputs, protocol.held_out, protocol.own_val, seed)
        criterion = _criterion(protocol, inputs.dataset, inputs.multilabel)
        fitted = _fitted_classes(parts, len(inputs.classes), inputs.multilabel)
        scale = _scaler(protocol, parts.fit.features)
        val_features = scale(parts.val.features)
        path = fit_path(
            scale(parts.fit.features),
            _columns(parts.fit.targets, fitted),
            torch.logspace(_log10(protocol.lambda_min), _log10(protocol.lambda_max), protocol.lambdas, dtype=torch.float64),
            n_classes=len(fitted),
            X_val=val_features,
            y_val=_columns(parts.val.targets, fitted),
            score=criterion_score(criterion),
            progress=inputs.progress,
        )
        chosen = float(path.lambdas[path.best])
        details: dict[str, Any] = {
            "lambda": chosen,
            "criterion": criterion,
            "curve": curve(path),
            "at_edge": chosen in (float(path.lambdas.min()), float(path.lambdas.max())),
            "n_fit": len(parts.fit),
            "n_refit": len(parts.everything),
        }
        temperature = None
        if not inputs.multilabel:
            temperature = fit_temperature(path.logits(val_features, path.best), parts.val.targets)
            details["temperature"] = temperature
        scale = _scaler(protocol, parts.everything.features)
        final = fit(
            scale(parts.everything.features),
            _columns(parts.everything.targets, fitted),
            chosen,
            n_classes=len(fitted),
            warm_start=path,
        )
        details["converged"] = bool(final.converged[0])
        details["objective_gap"] = float(final.gap[0])
        details |= _left_out(parts, inputs, fitted)
        logits = _spread(final, scale(inputs.test.features), fitted, len(inputs.classes))
        table = reported_rows(inputs, logits, logits=True, temperature=temperature)
        return Predictions(table, parts.how, len(parts.val), details)
