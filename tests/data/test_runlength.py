"""Run lengths are COCO's."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.runlength import from_run_lengths, run_lengths


def test_masks_survive_the_way_there_and_back_and_pycocotools_reads_them() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(100):
        size = (int(rng.integers(1, 7)), int(rng.integers(1, 7)))
        mask = rng.random(size) < rng.choice([0, 0.3, 0.8, 1])
        counts = run_lengths(mask)
        assert np.array_equal(from_run_lengths(counts, size), mask)
        theirs = coco.decode(coco.frPyObjects({"size": list(size), "counts": counts.tolist()}, *size))
        assert np.array_equal(theirs.astype(bool), mask)


def test_lengths_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="2 x 2"):
        from_run_lengths(np.array([3]), (2, 2))
