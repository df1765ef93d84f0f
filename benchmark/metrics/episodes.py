"""The `episodes` scorer: accuracy of few-shot episodes, with the interval over episodes that the literature quotes."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.metrics import columns, intervals
from benchmark.metrics.estimate import Estimate
from benchmark.metrics.names import with_variant

VERSION = 1


def estimates(table: pa.Table) -> list[Estimate]:
    """`top1` of every variant: the mean over episodes of each episode's accuracy.

    The interval is mean -+ 1.96 std / sqrt(episodes) with the population's standard deviation (ddof 0), as in the
    evaluations of Chen et al. 2019 and ssl-transfer, which use `numpy.std` as it is.

    Raises:
        ResultError: a class out of range, a sample twice in an episode, or episodes of different sizes.
    """
    classes = columns.facts_of(table)["classes"]
    return [_figure(variant, rows, classes) for variant, rows in columns.by_variant(table)]


def _figure(variant: str, rows: pa.Table, classes: int) -> Estimate:
    episode = columns.integers(rows, "episode")
    target = columns.integers(rows, "target", classes)
    prediction = columns.integers(rows, "prediction", classes)
    sample = columns.column(rows, "sample").cast(pa.string()).dictionary_encode().indices.to_numpy()
    key = np.sort(episode * (int(sample.max()) + 1) + sample)
    if (key[1:] == key[:-1]).any():
        raise columns.malformed("each sample once per episode", f"one more than once in variant {variant!r}")
    numbers, index, size = np.unique(episode, return_inverse=True, return_counts=True)
    if size.min() != size.max():
        raise columns.malformed("episodes of one size", f"{size.min()} to {size.max()} queries in variant {variant!r}")
    accuracy = 100 * np.bincount(index, prediction == target) / size

    def interval() -> tuple[float, float]:
        low, high = intervals.of_mean(accuracy, ddof=0)
        return max(0.0, low), min(100.0, high)

    return Estimate(
        name=with_variant("top1", variant),
        value=float(accuracy.mean()),
        interval=interval,
        units=_identities(index, rows, target),
        strata=np.zeros(len(numbers), dtype=np.int64),
        contributions=accuracy[:, None],
    )


def _identities(index: np.ndarray, rows: pa.Table, target: np.ndarray) -> np.ndarray:
    """(E,) a digest per episode of its queries and classes: equal where two runs met the same episode."""
    order = pc.sort_indices(rows, sort_keys=[("episode", "ascending"), ("sample", "ascending")])
    samples = columns.column(rows, "sample").cast(pa.string())
    lines = pc.binary_join_element_wise(pa.array(target).cast(pa.string()), samples, " ").take(order).to_numpy(False)
    episodes = np.split(lines, np.flatnonzero(np.diff(index[order.to_numpy()])) + 1)
    return np.array([hashlib.blake2b("\0".join(found).encode(), digest_size=8).hexdigest() for found in episodes])
