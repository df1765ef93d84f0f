"""A part of the robustness task: one kind of change, its protocols and how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark.backbones.backbone import Backbone
from benchmark.errors import NotApplicable
from benchmark.task import Labels, Need, Predictions
from tasks.robustness.judge import JudgeSettings


def _any_encoder(protocol: Any, backbone: Backbone) -> None:
    """Every encoder will do."""


def _any_labels(protocol: Any, labels: Labels) -> None:
    """Every dataset of one label per image will do."""


def several_classes(protocol: Any, labels: Labels) -> None:
    """Every dataset will do in which a head can be unsure.

    Raises:
        NotApplicable: one class.
    """
    if len(labels.classes) < 2:
        raise NotApplicable("two classes or more", f"{len(labels.classes)}", "use another dataset")


@dataclass(frozen=True)
class Part:
    """One kind of change.

    Attributes:
        settings: the class of its protocols' settings, which no other part has.
        protocols: its protocols; those of the first part come first.
        predict: `Task.predict` of them.
        scorer, needs: as of a `Task`.
        headline: likewise; a function of the protocol where its settings decide which figures there are.
        always_reads_train: whether something is fitted on train even where the checkpoint's own head judges.
        asks_shift: whether it is about a pair of sources.
        asks_variants: whether the shifted images are to be changed versions of the clean ones.
        reads_shifted: as `Task.reads_shifted`.
        check_encoder: says which encoders will not do, by raising `NotApplicable`.
        check_labels: likewise for labels.
    """

    settings: type[JudgeSettings]
    protocols: tuple[JudgeSettings, ...]
    predict: Callable[[Any, Any, int], Predictions]
    scorer: str
    headline: str | Callable[[Any], str]
    needs: tuple[Need, ...] = ("pooled", "backbone")
    always_reads_train: bool = False
    asks_shift: bool = False
    asks_variants: bool = False
    reads_shifted: bool = True
    check_encoder: Callable[[Any, Backbone], None] = _any_encoder
    check_labels: Callable[[Any, Labels], None] = _any_labels
