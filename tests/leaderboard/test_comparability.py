"""Only like is ranked with like, and the field that differs is named."""

from __future__ import annotations

from typing import Any

import pytest

from leaderboard.comparability import comparable, conflicts
from tests.results.examples import example_result


def changed(section: str, **fields: Any) -> Any:
    base = example_result()
    part = getattr(base, section)
    return base.model_copy(update={section: part.model_copy(update=fields)})


def test_results_of_different_models_and_seeds_are_comparable() -> None:
    other = changed("model", name="b", weights_hash="w2", arch="vit").model_copy(update={"seed": 3})
    assert comparable(example_result(), other)


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (example_result().model_copy(update={"task": "nmc"}), "task"),
        (example_result().model_copy(update={"task_version": 2}), "task version"),
        (changed("protocol", name="knn/dino+temperature=0.1"), "protocol"),
        (changed("protocol", version=2), "protocol version"),
        (changed("data", name="dogs"), "dataset"),
        (changed("data", fingerprint="f2"), "data fingerprint"),
        (changed("data", reported_split="val"), "split"),
        (changed("data", skipped={"test": ["a.jpg"]}), "images left out"),
        (changed("selection", how="reported-split"), "selection"),
        (changed("scorer", version=2), "scorer"),
    ],
)
def test_the_field_that_differs_is_named(other: Any, field: str) -> None:
    found = conflicts(example_result(), other)
    assert [conflict.field for conflict in found] == [field]
    assert not comparable(example_result(), other)
