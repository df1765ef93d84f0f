"""The figures of a result in sections that can be read: by group of corruptions, kind of change, attack or score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmark.metrics.adversarial import KINDS
from benchmark.metrics.corruptions import EXTRA, GROUPS
from benchmark.metrics.names import split_name
from benchmark.results.schema import MetricValue, Result


@dataclass(frozen=True)
class Section:
    """Figures under a heading.

    Attributes:
        title: empty for what is said of the result as a whole.
        metrics: in their stored order.
    """

    title: str
    metrics: tuple[MetricValue, ...]


def sections_of(result: Result) -> list[Section]:
    """All figures of a result, each once: those of the whole first, then sections in the order of first appearance."""
    title_of = _TITLES.get(result.scorer.name, _no_title)
    names = [metric.name for metric in result.metrics]
    found: dict[str, list[MetricValue]] = {"": []}
    for metric in result.metrics:
        found.setdefault(title_of(metric.name, names), []).append(metric)
    return [Section(title, tuple(metrics)) for title, metrics in found.items() if metrics]


def _no_title(metric: str, among: list[str]) -> str:
    return ""


def _of_corruption(metric: str, among: list[str]) -> str:
    _, variant = split_name(metric)
    for group, names in (*GROUPS.items(), ("extra", EXTRA)):
        if variant == group or variant in names:
            return group
    return ""


def _of_change(metric: str, among: list[str]) -> str:
    """The kind: kinds are what a drop is given for, and a level follows its kind after a hyphen."""
    _, variant = split_name(metric)
    if variant == "histogram":
        return "colour histogram"
    kinds = [split_name(name)[1] for name in among if name.startswith("mean_drop@")]
    return next((kind for kind in kinds if variant == kind or variant.startswith(f"{kind}-")), "")


def _of_scaling(metric: str, among: list[str]) -> str:
    base, variant = split_name(metric)
    if base == "top1":
        return ""
    return "after temperature scaling" if variant == "ts" or variant.endswith("-ts") else "as it is"


def _of_attack(metric: str, among: list[str]) -> str:
    kind = split_name(metric)[1].partition("-")[0]
    return kind if kind in KINDS else ""


def _of_score(metric: str, among: list[str]) -> str:
    return split_name(metric)[1]


def _of_category(metric: str, among: list[str]) -> str:
    base, variant = split_name(metric)
    return "by category of the shape" if base == "shape_bias" and variant else ""


_TITLES: Mapping[str, Callable[[str, list[str]], str]] = {
    "corruptions": _of_corruption,
    "imagenet-c": _of_corruption,
    "changes": _of_change,
    "calibration": _of_scaling,
    "adversarial": _of_attack,
    "ood": _of_score,
    "shape-bias": _of_category,
}
"""By scorer: (metric, all metrics of the result) -> the title of its section."""
