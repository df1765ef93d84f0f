"""Linear classifiers on stored features: logistic regression over a path of penalties, and big_vision's ridge."""

from __future__ import annotations

from typing import ClassVar

from benchmark.errors import NotApplicable
from benchmark.protocol import ProtocolSettings
from benchmark.task import Inputs, Labels, Predictions, Task
from tasks.logreg import LogisticSettings, criterion_of, predict_logistic
from tasks.ridge import RidgeSettings, headline_of_ridge, predict_ridge


class Linear(Task):
    """A linear classifier whose penalty is chosen on data held out of train, then fitted again on all of it."""

    name = "linear"
    summary = (
        "logistic regression, 45 penalties chosen on 10% of train, calibration before and after temperature scaling"
    )
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
            return headline_of_ridge(protocol)
        assert isinstance(protocol, LogisticSettings)
        return criterion_of(protocol, dataset, multilabel)

    def check(self, protocol: ProtocolSettings, labels: Labels) -> None:
        """Images per class have no meaning where an image has several.

        Raises:
            NotApplicable: ridge on multi-label data.
        """
        super().check(protocol, labels)
        if labels.multilabel and isinstance(protocol, RidgeSettings):
            raise NotApplicable("one label per image", "a multi-label dataset", f"{protocol.name} has no meaning there")

    def predict(self, inputs: Inputs, protocol: ProtocolSettings, seed: int) -> Predictions:
        """Chooses, fits again and predicts the reported split.

        Raises:
            NotApplicable: nothing can be held out.
        """
        if isinstance(protocol, RidgeSettings):
            return predict_ridge(inputs, protocol, seed)
        assert isinstance(protocol, LogisticSettings)
        return predict_logistic(inputs, protocol, seed)
