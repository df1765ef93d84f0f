"""Few-shot episodes: by hand, against scikit-learn, and the properties that a fair draw has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestCentroid

from benchmark.errors import NotApplicable
from benchmark.metrics.registry import score
from tasks.episodes import Episodes, Members, predict
from tasks.fewshot import FewShot
from tests.tasks.worlds import blobs, inputs_of, labels_of, shuffled, split_of, tagged

PROTO = FewShot.protocols["fewshot/proto"].model_copy(update={"episodes": 40, "shots": (1, 5)})
COSINE = FewShot.protocols["fewshot/cosine"].model_copy(update={"episodes": 40, "shots": (1, 5)})


def drawn(shots: int = 5, episodes: int = 30, seed: int = 0):
    inputs = blobs(classes=8)
    support, query = (Members.of(split, 8) for split in (inputs.train, inputs.test))
    rng = np.random.default_rng(seed)
    classes = Episodes.choose(rng, np.full(episodes, 8), 5)
    return inputs, Episodes.draw(rng, classes, support, shots, query, 15)


def test_the_protocol_is_the_published_one():
    settings = FewShot.protocols["fewshot/proto"]
    assert (settings.way, settings.shots, settings.queries, settings.episodes) == (5, (1, 5, 20, 50), 15, 600)
    assert next(iter(FewShot.protocols)) == "fewshot/proto"


def test_prototypes_are_scikit_learns_nearest_centroid():
    inputs, episodes = drawn()
    found = predict(inputs.train.features, inputs.test.features, episodes, "euclidean")
    train, test = inputs.train.features.numpy(), inputs.test.features.numpy()
    for episode in range(30):
        support, query = episodes.support[episode], episodes.query[episode]
        peer = NearestCentroid().fit(train[support.ravel()], np.repeat(np.arange(5), 5))
        assert np.array_equal(peer.predict(test[query.ravel()]), found[episode].ravel())


def test_cosine_is_to_the_mean_of_features_as_they_are():
    inputs, episodes = drawn()
    found = predict(inputs.train.features, inputs.test.features, episodes, "cosine")
    train, test = inputs.train.features.numpy(), inputs.test.features.numpy()
    for episode in range(30):
        prototypes = train[episodes.support[episode]].mean(axis=1)
        expected = cosine_similarity(test[episodes.query[episode].ravel()], prototypes).argmax(axis=1)
        assert np.array_equal(expected, found[episode].ravel())


def test_episode_by_hand():
    """Prototypes (1, 0) and (10, 10): (3, 4) is nearer to the first in distance, to the second in angle."""
    train = torch.tensor([[0.0, 0], [2, 0], [9, 10], [11, 10]])
    episodes = Episodes(np.array([[0, 1]]), np.array([[[0, 1], [2, 3]]]), np.array([[[0], [1]]]))
    test = torch.tensor([[3.0, 4], [9, 0]])
    assert predict(train, test, episodes, "euclidean").ravel().tolist() == [0, 0]
    assert predict(train, test, episodes, "cosine").ravel().tolist() == [1, 0]


def test_a_large_common_mean_does_not_cost_digits():
    inputs, episodes = drawn()
    plain = predict(inputs.train.features, inputs.test.features, episodes, "euclidean")
    moved = predict(inputs.train.features + 1000, inputs.test.features + 1000, episodes, "euclidean")
    assert (plain != moved).mean() < 0.002


def test_support_is_from_train_and_queries_from_the_reported_split_without_repetition():
    inputs, episodes = drawn(shots=20)
    for name, split, chosen in (("train", inputs.train, episodes.support), ("test", inputs.test, episodes.query)):
        labels = split.targets.numpy()[chosen]
        assert (labels == episodes.classes[:, :, None]).all(), name
        flat = np.sort(chosen.reshape(len(chosen), -1), axis=1)
        assert (np.diff(flat, axis=1) > 0).all(), name
    assert all(len(set(row)) == 5 for row in episodes.classes.tolist())
    table = FewShot().predict(inputs, PROTO, 0).table
    assert all(name.startswith("test/") for name in table.column("sample").to_pylist())


def test_every_subset_is_as_likely_as_any_other():
    chosen = np.sort(Episodes.choose(np.random.default_rng(0), np.full(60_000, 5), 3), axis=1)
    _, counts = np.unique(chosen, axis=0, return_counts=True)
    assert len(counts) == 10
    assert ((counts - 6000) ** 2 / 6000).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001


def test_figures_are_named_by_way_and_shot_and_grow_with_shots():
    found = {metric.name: metric for metric in score(FewShot().predict(blobs(noise=2.0), PROTO, 0).table)}
    assert set(found) == {"top1@5way-1shot", "top1@5way-5shot"}
    assert found["top1@5way-1shot"].n == 40
    assert 20 < found["top1@5way-1shot"].value < found["top1@5way-5shot"].value
    assert FewShot().headline_of(PROTO, "blobs", False) in found


@pytest.mark.parametrize("protocol", [PROTO, COSINE], ids=["proto", "cosine"])
def test_seeds_decide_the_episodes_and_the_order_of_samples_does_not(protocol):
    inputs = blobs()
    first, again, other = (FewShot().predict(inputs, protocol, seed).table for seed in (3, 3, 4))
    assert first.equals(again) and not first.equals(other)
    assert score(FewShot().predict(shuffled(inputs), protocol, 3).table) == score(first)


def test_one_k_draws_the_same_episodes_whatever_the_others():
    inputs = blobs()
    alone = FewShot().predict(inputs, PROTO.model_copy(update={"shots": (5,)}), 0).table
    assert score(alone)[0] == score(FewShot().predict(inputs, PROTO, 0).table)[1]


def test_small_classes_are_left_out_and_named():
    inputs = blobs(classes=7, train=10)
    keep = np.ones(70, bool)
    keep[np.flatnonzero(inputs.train.targets.numpy() == 3)[2:]] = False
    train = split_of(inputs.train.features.numpy()[keep], inputs.train.targets.numpy()[keep], "train")
    found = FewShot().predict(inputs_of(train, inputs.test, 7), PROTO.model_copy(update={"shots": (1, 5, 20)}), 0)
    assert found.details["1shot"] == {"classes": 7}
    assert found.details["5shot"] == {"classes": 6, "classes_left_out": ["class3"]}
    assert "0 have them" in found.details["20shot"]["left_out"]
    rows = found.table.to_pylist()
    assert {row["variant"] for row in rows} == {"5way-1shot", "5way-5shot"}
    assert 3 not in {row["target"] for row in rows if row["variant"] == "5way-5shot"}


def test_too_few_images_for_any_episode_is_not_applicable():
    with pytest.raises(NotApplicable, match="1-shot"):
        FewShot().check(PROTO, labels_of(blobs(test=14)))
    with pytest.raises(NotApplicable):
        FewShot().check(PROTO, labels_of(tagged()))
