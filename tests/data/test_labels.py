from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmark.data.assemble import assemble
from benchmark.data.dataset import Split
from benchmark.data.labels import read_labels
from benchmark.errors import DataError


def test_integers_without_names_become_classes_in_numeric_order() -> None:
    labels = read_labels({"train": pa.array([10, 2, 10]), "test": pa.array([2], pa.int8())}, None, "x")
    assert labels.classes == ("2", "10")
    assert labels.targets["train"].tolist() == [1, 0, 1]
    assert labels.targets["test"].dtype == np.int64


def test_names_become_classes_in_alphabetical_order_whatever_the_encoding() -> None:
    train = pa.chunked_array([pa.array(["dog", "cat"]).dictionary_encode(), pa.array(["cow"]).dictionary_encode()])
    labels = read_labels({"train": train, "test": pa.array(["cow"], pa.large_string())}, None, "x")
    assert labels.classes == ("cat", "cow", "dog")
    assert labels.targets["train"].tolist() == [2, 0, 1]
    assert labels.targets["test"].tolist() == [1]


def test_given_names_keep_their_order_also_when_a_class_is_absent() -> None:
    labels = read_labels({"train": pa.array([2, 0])}, ["z", "y", "x"], "x")
    assert labels.classes == ("z", "y", "x")
    assert labels.targets["train"].tolist() == [2, 0]
    assert read_labels({"train": pa.array(["x", "z"])}, ["z", "y", "x"], "x").targets["train"].tolist() == [2, 0]


def test_lists_become_indicators() -> None:
    labels = read_labels({"train": pa.array([[0, 2], [], [1]])}, ["a", "b", "c"], "x")
    assert labels.multilabel
    assert labels.targets["train"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert labels.targets["train"].dtype == np.uint8
    named = read_labels({"train": pa.array([["p"], ["q", "p"]])}, None, "x")
    assert named.targets["train"].tolist() == [[1, 0], [1, 1]]
    sliced = pa.array([[9], ["q"], ["p"]][1:])
    assert read_labels({"train": sliced}, None, "x").targets["train"].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("column", "names", "says"),
    [
        (pa.array([0, None, 1]), None, "none for row 1 of train of 'x' (1 rows without)"),
        (pa.array(["a", " "]), None, "none for row 1"),
        (pa.array([0.5, float("nan")]), None, "none for row 1"),
        (pa.array([0.0, 1.0]), None, "double"),
        (pa.array([[0], None]), None, "none for row 1"),
        (pa.array([[0], [None]]), None, "none for row 1"),
        (pa.array([0, -1]), ["a", "b"], "-1 (which marks an unlabelled split) in row 1"),
        (pa.array([0, 2]), ["a", "b"], "labels between 0 and 1; found 2 in row 1"),
        (pa.array(["a", "c"]), ["a", "b"], "'c'"),
        (pa.array([], pa.int64()), None, "none in train"),
    ],
)
def test_a_label_that_cannot_be_is_named(column: pa.Array, names: list[str] | None, says: str) -> None:
    with pytest.raises(DataError) as refusal:
        read_labels({"train": column}, names, "x")
    assert says in str(refusal.value)


def test_splits_must_agree_on_the_type() -> None:
    for other in (pa.array(["a"]), pa.array([[0]])):
        with pytest.raises(DataError, match="one type in every split"):
            read_labels({"train": pa.array([0, 1]), "test": other}, None, "x")


class _Blank:
    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def read(self, index: int) -> Any:
        raise NotImplementedError


def _split(name: str, ids: list[Any], targets: Any, images: int | None = None) -> Split:
    return Split(name, pa.array(ids), np.asarray(targets), _Blank(len(ids) if images is None else images), "f", "s")


@pytest.mark.parametrize(
    ("train", "classes", "says"),
    [
        (_split("train", ["a", "a", "b"], [0, 1, 1]), "pq", "'a' 2 times"),
        (_split("train", ["a", None], [0, 1]), "pq", "1 missing"),
        (_split("train", [1, 2], [0, 1]), "pq", "int64"),
        (_split("train", ["a", "b"], [0, 2]), "pq", "2 for b"),
        (_split("train", ["a", "b"], [0, -1]), "pq", "-1 for b"),
        (_split("train", ["a", "b"], [0.0, 1.0]), "pq", "float64"),
        (_split("train", ["a", "b"], [0, 1], images=3), "pq", "3 images"),
        (_split("train", ["a", "b"], [0]), "pq", "1 targets"),
        (_split("train", ["a", "b"], [0, 0]), "pq", "at least two classes in train"),
        (_split("train", ["a", "b"], [0, 0]), "p", "at least two classes; found 1"),
        (_split("train", ["a", "b"], [0, 1]), "pp", "'p' twice"),
        (_split("train", ["a", "b"], [0, 1]), "pqr", "'r' in test"),
    ],
)
def test_splits_that_do_not_hold_together_are_refused(train: Split, classes: str, says: str) -> None:
    test = _split("test", ["t0", "t1"], [0, len(classes) - 1])
    with pytest.raises(DataError) as refusal:
        assemble("n", "x", tuple(classes), {"train": train, "test": test})
    assert says in str(refusal.value)


def test_train_and_a_reported_split_must_be_there() -> None:
    one = _split("train", ["a", "b"], [0, 1])
    with pytest.raises(DataError, match="a test or val split"):
        assemble("n", "x", ("p", "q"), {"train": one})
    with pytest.raises(DataError, match="a train split"):
        assemble("n", "x", ("p", "q"), {"test": one})


def test_multi_label_classes_must_have_positives_in_train_and_bare_rows_are_said() -> None:
    train = _split("train", ["a", "b"], np.array([[1, 1, 0], [0, 1, 0]], np.uint8))
    good = _split("test", ["c", "d"], np.array([[1, 1, 0], [0, 0, 0]], np.uint8))
    dataset = assemble("n", "x", ("p", "q", "r"), {"train": train, "test": good}, multilabel=True)
    assert dataset.multilabel
    assert any(notice.startswith("1 of 2 images of test have no label") for notice in dataset.notices)
    assert any("no image at all: 'r'" in notice for notice in dataset.notices)
    bad = _split("test", ["c"], np.array([[0, 0, 1]], np.uint8))
    with pytest.raises(DataError, match="'r' in test"):
        assemble("n", "x", ("p", "q", "r"), {"train": train, "test": bad}, multilabel=True)
