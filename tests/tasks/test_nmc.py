"""Nearest class mean against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

from benchmark.errors import DataError, NotApplicable
from benchmark.metrics.registry import score
from tasks.nmc import NearestMeanClass
from tests.tasks.worlds import blobs, by_sample, inputs_of, labels_of, shuffled, split_of, tagged

PROTOCOL = NearestMeanClass.protocols["nmc/cosine"]


def test_is_the_cosine_to_the_means_of_normalised_features():
    inputs = blobs()
    train, test = (normalize(split.features.double().numpy()) for split in (inputs.train, inputs.test))
    means = np.stack([train[inputs.train.targets.numpy() == c].mean(axis=0) for c in range(6)])
    expected = cosine_similarity(test, means)
    found = NearestMeanClass().predict(inputs, PROTOCOL, 0).table
    assert np.array_equal(found.column("prediction").to_numpy(), expected.argmax(axis=1))
    assert found.column("top5").to_pylist() == np.argsort(-expected, axis=1)[:, :5].tolist()


def test_by_hand():
    """Two classes on the axes; (2, 1) is nearer in angle to the first, whatever its length."""
    train = split_of(np.array([[1.0, 0], [9, 0], [0, 1]]), np.array([0, 0, 1]), "train")
    test = split_of(np.array([[2.0, 1], [1, 2], [20, 10]]), np.array([0, 1, 1]), "test")
    table = NearestMeanClass().predict(inputs_of(train, test, 2), PROTOCOL, 0).table
    assert table.column("prediction").to_pylist() == [0, 1, 0]
    assert score(table)[0].value == pytest.approx(100 * 2 / 3)


def test_order_of_samples_changes_nothing():
    inputs = blobs()
    first, second = (NearestMeanClass().predict(i, PROTOCOL, 0).table for i in (inputs, shuffled(inputs)))
    assert np.array_equal(by_sample(first, "prediction"), by_sample(second, "prediction"))


def test_does_not_depend_on_the_seed():
    assert not NearestMeanClass.stochastic


def test_refuses_several_labels_per_image_and_classes_without_images():
    inputs = tagged()
    with pytest.raises(NotApplicable):
        NearestMeanClass().check(PROTOCOL, labels_of(inputs))
    inputs = blobs()
    inputs.train.targets[inputs.train.targets == 2] = 3
    with pytest.raises(DataError, match="class2"):
        NearestMeanClass().predict(inputs, PROTOCOL, 0)


def test_scores_that_are_not_finite_stop_the_task():
    inputs = blobs()
    inputs.test.features[4] = torch.nan
    with pytest.raises(DataError, match="finite"):
        NearestMeanClass().predict(inputs, PROTOCOL, 0)
