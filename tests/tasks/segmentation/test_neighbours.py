"""`seg/knn` against scikit-learn's scaler and multi-output neighbours, which is what capi's classifier computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from benchmark.metrics.registry import score
from tasks.segmentation import neighbours
from tasks.segmentation.labels import Squares, squares_of
from tasks.segmentation.neighbours import (
    Memory,
    NeighbourSettings,
    Scaler,
    joined_patches,
    patch_labels,
    settled,
    tokens,
)
from tasks.segmentation.task import Segmentation
from tests.tasks.segmentation.worlds import stored, world

NAMES = {"cosine": "cosine", "l2": "euclidean"}


def memory_of(inputs) -> tuple[Memory, Squares]:
    masks = squares_of(inputs.train, inputs.size, len(inputs.classes), 0, lambda *_: None)
    return Memory.of(inputs.train.maps[0], masks, np.arange(len(masks))), masks


@pytest.mark.parametrize("distance", ["cosine", "l2"])
@pytest.mark.parametrize("k", [1, 3, 10, 30])
def test_every_pixel_is_what_scikit_learn_predicts(distance, k):
    inputs = world(noise=1.5)
    memory, masks = memory_of(inputs)
    grid = memory.maps.shape[1:]
    features = tokens(memory.maps, range(len(masks)))
    asked = tokens(inputs.test.maps[0], range(len(inputs.test)))
    keep, labels = settled(patch_labels(masks.values, grid), masks.ignore, masks.classes)
    scaler = StandardScaler().fit(features.double().numpy())
    model = KNeighborsClassifier(k, metric=NAMES[distance], algorithm="brute")
    model.fit(scaler.transform(features.double().numpy())[keep.numpy()], labels.numpy())
    expected = model.predict(scaler.transform(asked.double().numpy()))

    near = memory.neighbours(inputs.test.maps[0], np.arange(len(inputs.test)), k, distance, inputs)
    found = memory.votes(near, [k])[0].numpy()
    assert (found == expected).mean() > 0.9999  # a tie of distances in float32 may fall the other way
    assert len(np.unique(found)) == 4


def test_train_in_several_parts_gives_the_same_neighbours(monkeypatch):
    inputs = world()
    memory, _ = memory_of(inputs)
    rows = np.arange(len(inputs.test))
    whole = memory.neighbours(inputs.test.maps[0], rows, 30, "l2", inputs)
    monkeypatch.setattr(neighbours, "_TRAIN_NUMBERS", 6 * 16 * 5)
    assert len(list(memory.chunks())) == 5
    assert torch.equal(memory.neighbours(inputs.test.maps[0], rows, 30, "l2", inputs), whole)


def test_one_search_serves_every_k(monkeypatch):
    inputs = world(noise=2)
    memory, _ = memory_of(inputs)
    near = memory.neighbours(inputs.test.maps[0], np.arange(4), 30, "cosine", inputs)
    together = memory.votes(near, [1, 3, 10, 30])
    monkeypatch.setattr(neighbours, "_VOTES", 1)
    for k, labels in zip([1, 3, 10, 30], together, strict=True):
        assert torch.equal(memory.votes(near[:, :k], [k])[0], labels)


def test_the_scaler_is_scikit_learns():
    maps = stored(torch.randn(11, 5, 3, 3) * torch.tensor([1.0, 5, 0.1, 0, 2])[:, None, None] + 7)
    rows = [0, 2, 3, 10, 5]
    features = tokens(maps, rows).double().numpy()
    theirs, mine = StandardScaler().fit(features), Scaler.of(maps, rows)
    np.testing.assert_allclose(mine.mean, theirs.mean_, rtol=1e-9)
    np.testing.assert_allclose(mine.scale, theirs.scale_, rtol=1e-9)
    np.testing.assert_allclose(mine(tokens(maps, rows)), theirs.transform(features), atol=1e-5)


def test_masks_are_cut_into_patches_and_joined_again():
    masks = torch.arange(2 * 6 * 8).reshape(2, 6, 8)
    cut = patch_labels(masks, (3, 2))
    assert cut.shape == (2 * 3 * 2, 2 * 4)
    assert cut[1].tolist() == masks[0, :2, 4:].flatten().tolist()
    assert torch.equal(joined_patches(cut, (3, 2), (6, 8)), masks)


def test_a_patch_without_labels_takes_no_part_and_gaps_are_filled_by_the_patch():
    labels = torch.tensor([[255, 255, 255, 1], [255, 255, 2, 2], [0, 1, 1, 255], [255] * 4], dtype=torch.uint8)
    keep, filled = settled(labels, 255, 3)
    assert keep.tolist() == [False, True, True, False]
    assert filled.tolist() == [[2, 2, 2, 2], [0, 1, 1, 1]]


def test_k_and_distance_are_chosen_on_train_and_every_k_is_reported():
    inputs = world(train=40, noise=0.8)
    protocol = Segmentation.protocols["seg/knn@tiny"]
    found = Segmentation().predict(inputs, protocol, seed=0)
    assert (found.selection, found.selection_n) == ("train-10%", 4)
    metrics = {metric.name: metric.value for metric in score(found.table)}
    assert set(metrics) >= {"mIoU", "mAcc", "aAcc", "mIoU@k1", "mIoU@k3", "mIoU@k10", "mIoU@k30"}
    assert metrics["mIoU"] == metrics[f"mIoU@k{found.details['k']}"]
    best = max(found.details["curve"], key=lambda row: row["mIoU"])
    assert (best["k"], best["distance"]) == (found.details["k"], found.details["distance"])
    assert metrics["mIoU"] > 60
    again = Segmentation().predict(inputs, protocol, seed=0)
    assert again.table.equals(found.table)


def test_what_is_reported_never_touches_the_choice():
    inputs = world(train=40, noise=1.2)
    protocol = NeighbourSettings(name="p", ks=(1, 10))
    other = replace(inputs, test=replace(inputs.test, masks=inputs.train.masks))
    choices = [Segmentation().predict(each, protocol, seed=3).details for each in (inputs, other)]
    assert choices[0]["curve"] == choices[1]["curve"]
