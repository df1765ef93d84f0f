"""k nearest neighbours against scikit-learn and the written definitions of each protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

import tasks.knn
from benchmark.metrics.registry import score
from tasks.knn import Knn, vote_weights
from tests.tasks.worlds import blobs, by_sample, inputs_of, shuffled, split_of, tagged

DINO, INSTDISC, VISSL, WMSE = (Knn.protocols[f"knn/{name}"] for name in ("dino", "instdisc", "vissl", "wmse"))


def arrays(inputs):
    return (*(split.features.double().numpy() for split in (inputs.train, inputs.test)), inputs.train.targets.numpy())


def test_protocols_are_the_published_ones():
    assert (DINO.ks, DINO.temperature, DINO.metric) == ((10, 20, 100, 200), 0.07, "cosine")
    assert (INSTDISC.ks, INSTDISC.temperature, INSTDISC.metric) == ((200,), 0.1, "cosine")
    assert (VISSL.ks, VISSL.temperature, VISSL.metric) == ((200,), 0.1, "dot")
    assert (WMSE.ks, WMSE.temperature, WMSE.metric) == ((5,), None, "l2")
    assert next(iter(Knn.protocols)) == "knn/dino"
    assert [Knn().headline_of(p, "x", False) for p in (DINO, VISSL)] == ["top1@k20", "top1@k200"]
    assert Knn().headline_of(DINO, "x", True) == "mAP@k20"


def test_dino_is_scikit_learns_weighted_vote_at_every_k():
    inputs = blobs(classes=8, noise=2.0)
    train, test, labels = arrays(inputs)
    table = Knn().predict(inputs, DINO, 0).table
    for k in DINO.ks:
        peer = KNeighborsClassifier(
            k, weights=lambda distance: np.exp((1 - distance) / 0.07), metric="cosine", algorithm="brute"
        ).fit(train, labels)
        share = peer.predict_proba(test)
        assert by_sample(table, "prediction", f"k{k}").tolist() == share.argmax(axis=1).tolist()
        top5 = by_sample(table, "top5", f"k{k}")
        hit = (top5 == inputs.test.targets.numpy()[:, None]).any(axis=1).mean()
        best5 = np.argsort(-share, axis=1, kind="stable")[:, :5]
        assert hit == pytest.approx((best5 == inputs.test.targets.numpy()[:, None]).any(axis=1).mean(), abs=0.011)


def test_wmse_is_scikit_learns_plain_vote():
    inputs = blobs(noise=2.0)
    train, test, labels = arrays(inputs)
    peer = KNeighborsClassifier(5).fit(train, labels)
    table = Knn().predict(inputs, WMSE, 0).table
    assert by_sample(table, "prediction").tolist() == peer.predict(test).tolist()


def test_vissl_votes_by_inner_product_of_features_as_they_are():
    inputs = blobs(noise=2.0, train=60)
    train, test, labels = arrays(inputs)
    similarity = test @ train.T
    order = np.argsort(-similarity, axis=1)[:, :200]
    weight = np.exp(np.take_along_axis(similarity, order, axis=1) / 0.1 - similarity.max(axis=1, keepdims=True) / 0.1)
    votes = np.stack([(weight * (labels[order] == c)).sum(axis=1) for c in range(6)], axis=1)
    table = Knn().predict(inputs, VISSL, 0).table
    assert by_sample(table, "prediction").tolist() == votes.argmax(axis=1).tolist()
    longer = blobs(noise=2.0, train=60)
    longer.train.features[::2] *= 3  # lengths matter here, and do not under cosine
    changed = Knn().predict(longer, VISSL, 0).table
    assert by_sample(changed, "prediction").tolist() != by_sample(table, "prediction").tolist()


def test_similarities_in_the_thousands_do_not_overflow():
    weights = vote_weights(torch.tensor([[9000.0, 8999.9, 8000.0]]), 0.1)
    assert weights.tolist()[0] == pytest.approx([1.0, np.exp(-1.0), 0.0], rel=0.02)
    inputs = blobs()
    inputs.train.features.mul_(100)
    inputs.test.features.mul_(100)
    assert all(np.isfinite(metric.value) for metric in score(Knn().predict(inputs, VISSL, 0).table))


def test_by_hand():
    """Neighbours at cosine 1 (class 1), .8 and .8 (class 0): exp(1/.07) against 2 exp(.8/.07), a factor of 8.7."""
    train = split_of(np.array([[1.0, 0], [0.8, 0.6], [0.8, -0.6]]), np.array([1, 0, 0]), "train")
    test = split_of(np.array([[5.0, 0]]), np.array([1]), "test")
    protocol = DINO.model_copy(update={"ks": (3,), "headline_k": 3})
    weighted = Knn().predict(inputs_of(train, test, 2), protocol, 0).table
    plain = Knn().predict(inputs_of(train, test, 2), protocol.model_copy(update={"temperature": None}), 0).table
    assert (weighted["prediction"].to_pylist(), plain["prediction"].to_pylist()) == ([1], [0])


def test_equal_votes_go_to_the_lowest_class():
    train = split_of(np.array([[0.0, 1], [0, -1]]), np.array([1, 0]), "train")
    test = split_of(np.array([[0.0, 0]]), np.array([0]), "test")
    protocol = WMSE.model_copy(update={"ks": (2,)})
    assert Knn().predict(inputs_of(train, test, 3), protocol, 0).table["top5"].to_pylist() == [[0, 1, 2]]


def test_k_beyond_the_train_size_is_clamped_and_said():
    inputs = blobs(classes=3, train=20)
    found = Knn().predict(inputs, DINO, 0)
    assert found.details["k_used"] == {"k10": 10, "k20": 20, "k100": 60, "k200": 60}
    figures = {metric.name: metric.value for metric in score(found.table)}
    assert figures["top1@k100"] == figures["top1@k200"]


def test_several_labels_are_voted_for_one_by_one():
    inputs = tagged()
    train, test, labels = arrays(inputs)
    similarity = normalize(test) @ normalize(train).T
    order = np.argsort(-similarity, axis=1)[:, :20]
    weight = np.exp(np.take_along_axis(similarity, order, axis=1) / 0.07)
    shares = (weight[:, :, None] * labels[order]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    figures = {metric.name: metric.value for metric in score(Knn().predict(inputs, DINO, 0).table)}
    expected = average_precision_score(inputs.test.targets.numpy(), shares.astype(np.float32), average="macro")
    assert figures["mAP@k20-step"] == pytest.approx(100 * expected, abs=0.05)
    assert Knn().headline_of(DINO, "tagged", True) in figures


@pytest.mark.parametrize("world", [blobs, tagged])
def test_neither_order_nor_block_size_changes_the_figures(world, monkeypatch):
    inputs = world()
    first = score(Knn().predict(inputs, DINO, 0).table)
    assert score(Knn().predict(shuffled(inputs), DINO, 0).table) == first
    monkeypatch.setattr(tasks.knn, "_VOTES", 7000)
    assert score(Knn().predict(inputs, DINO, 0).table) == first


def test_votes_are_not_stored_as_probabilities():
    names = {metric.name.split("@")[0] for metric in score(Knn().predict(blobs(), DINO, 0).table)}
    assert names == {"top1", "top5", "mean_per_class"}
    assert not Knn.stochastic
