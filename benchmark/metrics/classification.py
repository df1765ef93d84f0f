"""The `classification` scorer: one class per image, figures from the stored best classes and probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns, intervals
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import joined, with_variant

VERSION = 1
BINS = 15  # Guo et al. 2017, "On calibration of modern neural networks"
_TOLERANCE = 1e-3  # between float32 log_prob and confidence, which state the same probability where a hit is made


@dataclass(frozen=True)
class _Draw:
    """The rows of one draw in canonical order; every array is (N,), hits are 0.0 or 1.0."""

    targets: np.ndarray
    hit1: np.ndarray
    hit5: np.ndarray
    probabilities: dict[str, tuple[np.ndarray, np.ndarray]]  # (confidence, log_prob) by name: '' and 'ts'


@dataclass(frozen=True)
class _Variant:
    """All draws of one variant over the same N samples."""

    name: str
    ids: np.ndarray
    draws: list[_Draw]

    @property
    def targets(self) -> np.ndarray:
        return self.draws[0].targets

    def estimate(
        self,
        base: str,
        interval: Callable[[], tuple[float, float]],
        contributions: np.ndarray,
        per_draw: list[float],
        folds: int | None = None,
    ) -> Estimate:
        """Names the figure; its value is the mean over draws."""
        exact = folds is None and len(self.draws) == 1
        return Estimate(
            name=joined(base, self.name),
            value=float(np.mean(per_draw)),
            interval=interval,
            units=self.ids,
            strata=self.targets,
            contributions=contributions,
            folds=folds,
            binary=exact and base in ("top1", "top5"),
            per_draw=tuple(per_draw) if len(per_draw) > 1 else (),
        )


def estimates(table: pa.Table) -> list[Estimate]:
    """Every figure of a `classification` table, variants in the order of the table.

    Raises:
        ResultError: the table contradicts itself or holds what cannot be scored (NaN, a class out of range, a sample
            twice, `prediction` other than `top5[0]`, draws over different samples).
    """
    classes = columns.facts_of(table)["classes"]
    found: list[Estimate] = []
    for name, rows in columns.by_variant(table):
        ids, _, tables = columns.by_draw(rows)
        draws = [_read(part, classes) for part in tables]
        if any(not np.array_equal(draw.targets, draws[0].targets) for draw in draws):
            raise columns.malformed("the same targets in every draw", f"others within variant {name!r}")
        found += _figures(_Variant(name, ids, draws), classes)
    return found


def calibration_bins(confidence: np.ndarray) -> np.ndarray:
    """Bin of each confidence, (N,) integers from 0: bin m of 15, from 1, holds those in ((m-1)/15, m/15]."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def calibration_gaps(confidence: np.ndarray, hit: np.ndarray, place: np.ndarray | None = None) -> np.ndarray:
    """What each sample adds to each bin's gap: (N, 15), hit - confidence in the column of its bin.

    The calibration error is the sum over bins of |column mean|.

    Args:
        confidence: (N,).
        hit: (N,) 0 or 1.
        place: (N,) the bin of each; None for bins of equal width.
    """
    gaps = np.zeros((len(hit), BINS))
    gaps[np.arange(len(hit)), calibration_bins(confidence) if place is None else place] = hit - confidence
    return gaps


def _figures(variant: _Variant, classes: int) -> list[Estimate]:
    found = [_share(variant, "top1", [draw.hit1 for draw in variant.draws])]
    if classes > 5:  # with five classes or fewer the best five are all of them
        found.append(_share(variant, "top5", [draw.hit5 for draw in variant.draws]))
    found.append(_mean_per_class(variant))
    for scaling in ("", "ts"):
        held = [draw.probabilities[scaling] for draw in variant.draws if scaling in draw.probabilities]
        if held and len(held) != len(variant.draws):
            raise columns.malformed(
                "probabilities in all draws of a variant or in none", f"{len(held)} draws with them"
            )
        if held:
            found.append(_calibration_error(variant, scaling, [confidence for confidence, _ in held]))
            found.append(_mean_loss(variant, scaling, [log_prob for _, log_prob in held]))
    return found


def _share(variant: _Variant, base: str, hits: list[np.ndarray]) -> Estimate:
    per_sample = np.mean(hits, axis=0)
    values = [100 * float(hit.mean()) for hit in hits]
    return variant.estimate(
        base, lambda: _percent(intervals.of_proportion(per_sample, len(hits))), 100 * per_sample[:, None], values
    )


def _mean_per_class(variant: _Variant) -> Estimate:
    """Mean over the classes that have test samples (others have no accuracy), each class's size held fixed."""
    hits = [draw.hit1 for draw in variant.draws]
    per_sample = np.mean(hits, axis=0)
    _, index, size = np.unique(variant.targets, return_inverse=True, return_counts=True)
    within = np.bincount(index, per_sample) / size
    influence = (per_sample - within[index]) * len(per_sample) / (len(size) * size[index])
    values = [100 * float(np.mean(np.bincount(index, hit) / size)) for hit in hits]
    return variant.estimate(
        "mean_per_class",
        lambda: _percent(intervals.of_mean_over_groups(per_sample, index, len(hits))),
        100 * (within.mean() + influence)[:, None],
        values,
    )


def _calibration_error(variant: _Variant, scaling: str, confidence: list[np.ndarray]) -> Estimate:
    gaps = [100 * calibration_gaps(conf, draw.hit1) for conf, draw in zip(confidence, variant.draws, strict=True)]
    values = [float(np.abs(gap.mean(axis=0)).sum()) for gap in gaps]
    contributions = np.concatenate(gaps, axis=1)

    def interval() -> tuple[float, float]:
        low, high = intervals.of_magnitudes(contributions, len(gaps))
        return low, min(100.0, high)

    return variant.estimate(with_variant("ece", scaling), interval, contributions, values, folds=len(gaps))


def _mean_loss(variant: _Variant, scaling: str, log_prob: list[np.ndarray]) -> Estimate:
    loss = -np.mean(log_prob, axis=0)
    values = [float(-one.mean()) for one in log_prob]
    return variant.estimate(with_variant("nll", scaling), lambda: intervals.of_mean(loss), loss[:, None], values)


def _percent(interval: tuple[float, float]) -> tuple[float, float]:
    return 100 * interval[0], 100 * interval[1]


def _read(rows: pa.Table, classes: int) -> _Draw:
    targets = columns.integers(rows, "target", classes)
    prediction = columns.integers(rows, "prediction", classes)
    best = columns.matrix(rows, "top5").astype(np.int64)
    columns.check_range(best, "top5", classes)
    if best.shape[1] != min(5, classes):
        raise columns.malformed(f"{min(5, classes)} classes in 'top5'", f"{best.shape[1]}")
    differing = int((best[:, 0] != prediction).sum())
    if differing:
        raise columns.malformed("'prediction' equal to 'top5'[0]", f"{differing} that differ")
    ranked = np.sort(best, axis=1)
    if (ranked[:, 1:] == ranked[:, :-1]).any():
        raise columns.malformed("different classes within 'top5'", "one class twice")
    hit = prediction == targets
    hit5 = (best == targets[:, None]).any(axis=1)
    probabilities = {}
    for name, prefix in (("", ""), ("ts", "scaled_")):
        pair = _probabilities(rows, hit, prefix)
        if pair is not None:
            probabilities[name] = pair
    return _Draw(targets, hit.astype(np.float64), hit5.astype(np.float64), probabilities)


def _probabilities(rows: pa.Table, hit: np.ndarray, prefix: str) -> tuple[np.ndarray, np.ndarray] | None:
    """(confidence, log_prob), checked: a hit's log_prob states its confidence, a miss's target is no likelier."""
    confidence = columns.optional_floats(rows, f"{prefix}confidence")
    log_prob = columns.optional_floats(rows, f"{prefix}log_prob")
    if confidence is None and log_prob is None:
        return None
    if confidence is None or log_prob is None:
        raise columns.malformed(f"'{prefix}confidence' and '{prefix}log_prob' together", "one of the two")
    if ((confidence <= 0) | (confidence > 1 + _TOLERANCE)).any():
        raise columns.malformed(f"'{prefix}confidence' in (0, 1]", f"{confidence.min():.4g} to {confidence.max():.4g}")
    if (log_prob > _TOLERANCE).any():
        raise columns.malformed(f"'{prefix}log_prob' of at most 0", f"{log_prob.max():.4g}")
    gap = log_prob - np.log(confidence)
    wrong = np.where(hit, np.abs(gap), gap) > _TOLERANCE
    if wrong.any():
        raise columns.malformed(
            f"'{prefix}log_prob' and '{prefix}confidence' that agree", f"{int(wrong.sum())} that do not"
        )
    return confidence, log_prob
