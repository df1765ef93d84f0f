"""What each metric is: unit, direction and one line. The only place that says which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.errors import ResultError, nearest


@dataclass(frozen=True)
class Definition:
    """A metric's unit, direction and meaning."""

    higher_is_better: bool
    unit: Literal["percent", "nats", "score"]
    summary: str


_OVER = "mean over the fifteen corruptions"

_VOC = "by PASCAL VOC's protocol at eleven recalls, @area: the area under the curve"

DEFINITIONS: dict[str, Definition] = {
    "top1": Definition(
        True,
        "percent",
        "samples whose best class is the target; @a kind of change: the mean over its levels; @changed: over the kinds",
    ),
    "top5": Definition(True, "percent", "samples with the target among the five best classes"),
    "mean_per_class": Definition(True, "percent", "mean of the top-1 within each class that has test samples"),
    "ece": Definition(False, "percent", "expected calibration error, 15 equal-width bins (Guo et al. 2017)"),
    "nll": Definition(False, "nats", "mean negative log-probability of the target"),
    "adaptive_ece": Definition(
        False, "percent", "expected calibration error, 15 bins of equally many images (Nguyen & O'Connor 2015)"
    ),
    "brier": Definition(
        False, "score", "mean over images of the sum over classes of (probability - 1 for the target, 0 else)^2: 0 to 2"
    ),
    "aurc": Definition(False, "percent", "mean over all coverages of the top-1 error on the images it is surest of"),
    "eaurc": Definition(False, "percent", "aurc above that of the same errors were they what it is least sure of"),
    "selective_accuracy": Definition(
        True, "percent", "top-1 on the images it is surest of; how many percent of all follows the @"
    ),
    "coverage": Definition(
        True, "percent", "images that can be answered, the surest first, with so many percent of errors at most"
    ),
    "auroc": Definition(
        True, "percent", "chance that a reported image looks more like train than one of something else: area under ROC"
    ),
    "fpr95": Definition(
        False,
        "percent",
        "images of something else that look as much like train as the 95% of reported ones that do most",
    ),
    "fpr95_out": Definition(
        False, "percent", "reported images that look as little like train as the 95% of something else that do least"
    ),
    "aupr_in": Definition(
        True, "percent", "average precision at finding the reported images among those of something else"
    ),
    "aupr_out": Definition(
        True, "percent", "average precision at finding the images of something else among the reported ones"
    ),
    "mAP": Definition(
        True,
        "percent",
        "mean over classes of average precision: area under the interpolated precision-recall curve (as VISSL); "
        "@11pt: VOC 2007's eleven points; @step: without interpolation (as scikit-learn)",
    ),
    "mIoU": Definition(
        True,
        "percent",
        "mean over classes of intersection over union, pixels of all images together; classes that are neither "
        "labelled nor predicted anywhere are left out (as mmsegmentation)",
    ),
    "mAcc": Definition(
        True, "percent", "mean over classes of the share of their pixels found; classes without pixels are left out"
    ),
    "aAcc": Definition(True, "percent", "share of all labelled pixels that are classified correctly"),
    **{
        f"{kind}{name}": Definition(True, "percent", f"{summary}, of {what}{'; ' + more if more else ''}")
        for kind, what in (("", "boxes"), ("mask_", "masks"))
        for name, summary, more in (
            ("AP", "mean over classes and overlaps of .50, .55, ... .95 of average precision", _VOC),
            ("AP50", "mean over classes of average precision at an overlap of .5", _VOC),
            ("AP75", "mean over classes of average precision at an overlap of .75", _VOC),
            ("APs", "AP of objects below 32 x 32 pixels", ""),
            ("APm", "AP of objects of 32 x 32 to 96 x 96 pixels", ""),
            ("APl", "AP of objects above 96 x 96 pixels", ""),
            ("AR1", "mean over classes and overlaps of recall, the best detection of each class in an image", ""),
            ("AR10", "AR1 with ten detections", ""),
            ("AR100", "AR1 with a hundred detections", ""),
            ("ARs", "AR100 of objects below 32 x 32 pixels", ""),
            ("ARm", "AR100 of objects of 32 x 32 to 96 x 96 pixels", ""),
            ("ARl", "AR100 of objects above 96 x 96 pixels", ""),
        )
    },
    "error": Definition(False, "percent", "top-1 error; of one corruption, the mean over its severities"),
    "mean_error": Definition(False, "percent", f"top-1 error, {_OVER} and their five severities"),
    "mCE": Definition(
        False, "percent", f"{_OVER} of ImageNet-C of the error summed over severities, over AlexNet's (100 is AlexNet)"
    ),
    "relative_mCE": Definition(
        False, "percent", f"{_OVER} of ImageNet-C of the error above that of clean images, over AlexNet's"
    ),
    "drop": Definition(False, "percent", "top-1 of clean images less that of shifted ones, of the same classes"),
    "effective_robustness": Definition(
        True, "percent", "top-1 of shifted images above what the board's trend expects of the clean top-1 (Taori 2020)"
    ),
    "shape_bias": Definition(
        True, "percent", "decisions for the shape among those for the shape or the texture of cue-conflict images"
    ),
    "mean_drop": Definition(
        False, "percent", f"top-1 error above that of clean images, {_OVER} and severities; or over a change's levels"
    ),
    "r2": Definition(
        True, "percent", "share of the variance that is explained: 1 - squared residuals / squared deviations"
    ),
}


def split_name(metric: str) -> tuple[str, str]:
    """`top1@k20` -> (`top1`, `k20`); the variant is empty where there is none."""
    base, _, variant = metric.partition("@")
    return base, variant


def with_variant(base: str, variant: str) -> str:
    """(`top1`, `k20`) -> `top1@k20`; the base alone with an empty variant."""
    return f"{base}@{variant}" if variant else base


def joined(metric: str, variant: str) -> str:
    """Puts a protocol's variant before the one a metric already has: (`ece@ts`, `k20`) -> `ece@k20-ts`."""
    base, own = split_name(metric)
    return with_variant(base, "-".join(part for part in (variant, own) if part))


def definition_of(metric: str) -> Definition:
    """The definition behind a metric's name, with or without a variant.

    Raises:
        ResultError: no metric has that name.
    """
    base, _ = split_name(metric)
    if base not in DEFINITIONS:
        raise ResultError("a known metric", f"{metric!r}", nearest(base, DEFINITIONS))
    return DEFINITIONS[base]
