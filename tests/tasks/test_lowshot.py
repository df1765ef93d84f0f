"""Low-shot logistic regression against scikit-learn on the same draws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from benchmark.errors import NotApplicable
from benchmark.metrics.registry import score
from tasks.lowshot import LowShot, centred_units
from tasks.sampling import class_ranks
from tests.tasks.worlds import blobs, by_sample, inputs_of, labels_of, shuffled, split_of, tagged

PROTOCOL = LowShot.protocols["lowshot/logreg"].model_copy(update={"shots": (1, 5), "draws": 2})


def test_the_protocol_is_the_published_one():
    settings = LowShot.protocols["lowshot/logreg"]
    assert (settings.shots, settings.draws) == ((1, 2, 5, 10), 5)


def test_is_scikit_learns_regression_on_the_drawn_images():
    inputs = blobs()
    table = LowShot().predict(inputs, PROTOCOL, seed=1).table
    x, y, test = (centred_units(inputs.train.features).numpy(), inputs.train.targets.numpy(),
                  centred_units(inputs.test.features).numpy())  # fmt: skip
    expected_hits, expected_loss = [], []
    for draw in range(2):
        chosen = class_ranks(inputs.train, 1, draw) < 5
        peer = LogisticRegression(C=1 / 0.0025, tol=1e-10, max_iter=5000).fit(x[chosen].astype(float), y[chosen])
        probability = peer.predict_proba(test.astype(float))
        expected_hits.append(probability.argmax(axis=1))
        expected_loss.append(np.log(probability[np.arange(len(test)), inputs.test.targets.numpy()]))
    rows = [row for row in table.to_pylist() if row["variant"] == "5shot"]
    rows.sort(key=lambda row: (row["draw"], row["sample"]))
    assert [row["prediction"] for row in rows] == np.concatenate(expected_hits).tolist()
    assert [row["log_prob"] for row in rows] == pytest.approx(np.concatenate(expected_loss), abs=0.03)


def test_features_are_centred_over_dimensions_and_have_unit_norm():
    features = centred_units(blobs().train.features).double().numpy()
    assert np.abs(features.mean(axis=1)).max() < 1e-6
    assert np.linalg.norm(features, axis=1) == pytest.approx(np.ones(len(features)), abs=1e-5)


def test_draws_are_balanced_nested_and_different():
    train = blobs().train
    ranks = [class_ranks(train, seed=0, draw=draw) for draw in range(3)]
    for rank in ranks:
        assert np.bincount(train.targets.numpy()[rank < 5]).tolist() == [5] * 6
        assert (rank < 1)[rank < 5].sum() == 6
    assert not np.array_equal(ranks[0] < 5, ranks[1] < 5)
    assert not np.array_equal(ranks[0], class_ranks(train, seed=1, draw=0))


def test_figures_carry_the_spread_over_draws():
    found = {metric.name: metric for metric in score(LowShot().predict(blobs(), PROTOCOL, 0).table)}
    assert {"top1@1shot", "top1@5shot", "ece@5shot", "nll@1shot"} <= set(found)
    assert found["top1@1shot"].draws == 2 and found["top1@1shot"].spread > 0
    assert found["top1@1shot"].n == 150
    assert LowShot().headline_of(PROTOCOL, "blobs", False) == "top1@5shot"


def test_seed_decides_and_the_order_of_samples_does_not():
    inputs, protocol = blobs(classes=4, train=10), PROTOCOL.model_copy(update={"shots": (5,)})
    first, again, other = (LowShot().predict(inputs, protocol, seed).table for seed in (3, 3, 4))
    assert first.equals(again) and not first.equals(other)
    moved = LowShot().predict(shuffled(inputs), protocol, 3).table
    assert by_sample(moved, "log_prob", "5shot") == pytest.approx(by_sample(first, "log_prob", "5shot"), abs=0.03)


def test_classes_with_fewer_images_give_what_they_have_and_are_named():
    inputs = blobs(classes=4, train=6)
    keep = np.ones(24, bool)
    keep[np.flatnonzero(inputs.train.targets.numpy() == 1)[2:]] = False
    train = split_of(inputs.train.features.numpy()[keep], inputs.train.targets.numpy()[keep], "train")
    details = LowShot().predict(inputs_of(train, inputs.test, 4), PROTOCOL, 0).details
    assert details["1shot"] == {"unconverged_draws": []}
    assert details["5shot"]["classes_with_fewer"] == ["class1"]


def test_refuses_several_labels_per_image():
    with pytest.raises(NotApplicable):
        LowShot().check(PROTOCOL, labels_of(tagged()))
