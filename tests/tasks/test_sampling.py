"""What is drawn and held out: stratified, seeded, and blind to the order of the data."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.sampling import class_ranks, held_out, ranks_within, subset
from tests.tasks.worlds import blobs, shuffled, split_of, tagged


def of_sizes(sizes: list[int]):
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return split_of(np.zeros((len(targets), 2)), targets, "train")


@pytest.mark.parametrize("fraction", [0.1, 0.2])
def test_holds_out_the_fraction_of_every_class(fraction):
    sizes = [100, 57, 33, 12, 205]
    split = of_sizes(sizes)
    chosen = held_out(split, fraction, seed=0)
    assert chosen.sum() == round(sum(sizes) * fraction)
    counts = np.bincount(split.targets.numpy()[chosen], minlength=5)
    assert (np.abs(counts - np.array(sizes) * fraction) < 1).all()


def test_a_single_image_stays_in_train_and_small_classes_are_never_emptied():
    split = of_sizes([1, 1, 2, 2, 40])
    for seed in range(20):
        left = np.bincount(split.targets.numpy()[~held_out(split, 0.5, seed)], minlength=5)
        assert (left >= 1).all()
    assert not held_out(of_sizes([1, 1, 1]), 0.1, 0).any()


def test_seeds_choose_differently_and_equal_seeds_alike():
    split = of_sizes([40, 40])
    assert np.array_equal(held_out(split, 0.1, 3), held_out(split, 0.1, 3))
    assert not np.array_equal(held_out(split, 0.1, 3), held_out(split, 0.1, 4))


@pytest.mark.parametrize("world", [blobs, tagged])
def test_the_same_images_are_chosen_in_any_order(world):
    first, second = world().train, shuffled(world()).train
    for choose in (lambda s: held_out(s, 0.1, 5), lambda s: held_out(s, 0.2, 0)):
        chosen = [set(subset(split, choose(split)).ids.to_pylist()) for split in (first, second)]
        assert chosen[0] == chosen[1]


def test_draws_are_the_same_images_in_any_order():
    first, second = blobs().train, shuffled(blobs()).train
    chosen = [set(subset(split, class_ranks(split, 0, 1) < 3).ids.to_pylist()) for split in (first, second)]
    assert chosen[0] == chosen[1]


def test_every_image_is_as_likely_to_be_held_out():
    split = of_sizes([10, 30])
    times = sum(held_out(split, 0.1, seed).astype(int) for seed in range(1500))
    assert times.min() > 100 and times.max() < 200  # 150 expected


def test_several_labels_are_stratified_and_both_kinds_stay():
    split = tagged(train=400).train
    targets = split.targets.numpy()
    chosen = held_out(split, 0.1, 0)
    assert chosen.sum() == 40
    share = targets[chosen].sum(axis=0) / targets.sum(axis=0)
    assert (np.abs(share - 0.1) < 0.08).all()
    rare = np.zeros((60, 3), np.float32)
    rare[:, 0], rare[0, 1], rare[:59, 2] = 1, 1, 1
    for seed in range(20):
        left = rare[~held_out(split_of(np.zeros((60, 2)), rare, "train"), 0.5, seed)]
        assert left[:, 1].any() and not left[:, 2].all()


def test_ranks_within_groups_by_hand():
    groups, keys = np.array([1, 0, 1, 1, 0]), np.array([0.3, 0.9, 0.1, 0.2, 0.4])
    assert ranks_within(groups, keys).tolist() == [2, 1, 0, 1, 0]


def test_a_subset_keeps_features_targets_and_ids_together():
    split = blobs().train
    part = subset(split, np.array([7, 3]))
    assert part.ids.to_pylist() == [split.ids[7].as_py(), split.ids[3].as_py()]
    assert part.targets.tolist() == split.targets[[7, 3]].tolist()
    assert (part.features == split.features[[7, 3]]).all()
