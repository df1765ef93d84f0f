"""Scorers by name and version."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmark.errors import ResultError
from benchmark.metrics.columns import multilabel_table
from benchmark.metrics.names import DEFINITIONS, definition_of
from benchmark.metrics.registry import get_scorer, score


@pytest.mark.parametrize("name", ["classification", "multilabel", "episodes", "segmentation"])
def test_version_one_of_every_scorer_is_there(name):
    scorer = get_scorer(name, 1)
    assert (scorer.name, scorer.version) == (name, 1) and get_scorer(name) == scorer


def test_an_unknown_scorer_names_the_nearest():
    with pytest.raises(ResultError, match="did you mean classification"):
        get_scorer("clasification")
    with pytest.raises(ResultError, match="version 7"):
        get_scorer("classification", 7)


def test_a_table_of_another_scorer_is_refused():
    table = multilabel_table(pa.array(["a", "b"]), np.eye(2), np.eye(2))
    with pytest.raises(ResultError, match="'multilabel'"):
        score(table, "classification")


def test_directions():
    lower = {name for name, definition in DEFINITIONS.items() if not definition.higher_is_better}
    assert lower == {
        *("ece", "nll", "error", "mean_error", "mean_drop"),
        *("adaptive_ece", "brier", "aurc", "eaurc"),
        *("drop", "mCE", "relative_mCE"),
        *("fpr95", "fpr95_out"),
    }
    assert definition_of("ece@ts") is DEFINITIONS["ece"]
    with pytest.raises(ResultError, match="top1"):
        definition_of("top_1")
