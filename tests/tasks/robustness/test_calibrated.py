"""How sure a head is, against probabilities worked out from its own logits and a temperature found by scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logit, logsumexp, softmax

from benchmark.backbones.backbone import Head
from benchmark.data.imagenet import imagenet_classes
from benchmark.errors import NotApplicable
from benchmark.metrics.registry import score
from benchmark.task import Inputs
from tasks.linear import Linear
from tasks.logreg import LogisticSettings
from tasks.robustness.calibrated import CalibrationSettings
from tasks.robustness.judge import judge_of
from tasks.robustness.task import Robustness
from tasks.sampling import held_out, subset
from tasks.solvers.temperature import fit_temperature
from tests.tasks.worlds import blobs, by_sample, labels_of

PROTOCOL = Robustness.protocols["robust/calibration"]
FEW = {"lambdas": 3, "lambda_min": 0.1, "lambda_max": 100.0}


def own_world(**more) -> Inputs:
    """Blobs that carry names of ImageNet classes, and a head over the thousand that knows the means of six of them."""
    world = blobs(**more)
    weight = torch.zeros(1000, world.train.features.shape[1])
    for label in range(6):
        weight[label] = 3 * world.train.features[world.train.targets == label].mean(dim=0)
    return replace(
        world, classes=tuple(imagenet_classes())[:6], head=Head(weight, -weight.square().sum(dim=1) / 6, "avg")
    )


def test_the_head_and_its_temperature_are_the_linear_tasks() -> None:
    world = blobs()
    found = Robustness().predict(world, PROTOCOL.model_copy(update=FEW), seed=3)
    linear = Linear().predict(world, LogisticSettings(name="x", standardise=True, **FEW), seed=3)
    for column in ("prediction", "confidence", "log_prob", "scaled_confidence", "scaled_log_prob"):
        assert np.array_equal(by_sample(found.table, column), by_sample(linear.table, column))
    assert found.details["temperature"] == linear.details["temperature"]
    assert (found.selection, found.selection_n) == (linear.selection, linear.selection_n) == ("train-10%", 24)


@pytest.mark.parametrize("head", ["probe", "own"])
def test_what_is_kept_of_each_distribution_is_worked_out_from_the_logits(head: str) -> None:
    world = own_world()
    protocol = PROTOCOL.model_copy(update={"head": head, **FEW})
    found = Robustness().predict(world, protocol, seed=0)
    logits = judge_of(world, protocol, 0).logits(world.test.features).double().numpy()
    order, targets = np.argsort(world.test.ids.to_pylist()), world.test.targets.numpy()
    for prefix, temperature in (("", 1.0), ("scaled_", found.details["temperature"])):
        p = softmax(logits / temperature, axis=1)
        best = p.max(axis=1)
        others = np.sort(logits, axis=1)[:, :-1] - logits.max(axis=1, keepdims=True)
        odds = -logsumexp(others / temperature, axis=1)  # as logit(best), where best is not 1 as a float
        assert odds[best < 0.999] == pytest.approx(logit(best[best < 0.999]))
        assert by_sample(found.table, f"{prefix}log_odds") == pytest.approx(odds[order], rel=1e-5, abs=1e-5)
        assert by_sample(found.table, f"{prefix}squares") == pytest.approx((p**2).sum(axis=1)[order], abs=1e-6)
        assert by_sample(found.table, f"{prefix}confidence") == pytest.approx(best[order], abs=1e-6)
    figures = {metric.name: metric.value for metric in score(found.table)}
    one_hot = np.eye(6)[targets]
    brier = ((softmax(logits, axis=1) - one_hot) ** 2).sum(axis=1).mean()
    assert figures["brier"] == pytest.approx(brier, abs=1e-6) and found.details["head"]["head"] == head


def test_the_own_heads_temperature_is_fitted_on_held_out_training_images() -> None:
    world = own_world()
    protocol = PROTOCOL.model_copy(update={"head": "own"})
    task = Robustness()
    assert task.reads_train(protocol) and set(task.needs_of(protocol)) == {"pooled", "head"}
    found = task.predict(world, protocol, seed=5)
    chosen = held_out(world.train, 0.1, 5)
    assert (found.selection, found.selection_n) == ("train-10%", int(chosen.sum()))
    logits = judge_of(world, protocol, 5).logits(world.train.features[chosen]).double().numpy()
    targets = world.train.targets.numpy()[chosen]

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(targets)), targets].mean())

    best = np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9}).x)
    assert found.details["temperature"] == pytest.approx(best, rel=1e-5) and abs(np.log(best)) > 0.1
    other = replace(world, test=replace(world.test, targets=(world.test.targets + 1) % 6))
    assert task.predict(other, protocol, seed=5).details["temperature"] == found.details["temperature"]


def test_class_means_get_their_temperature_from_images_that_they_are_no_means_of() -> None:
    world = blobs()
    protocol = PROTOCOL.model_copy(update={"head": "mean"})
    found = Robustness().predict(world, protocol, seed=1)
    chosen = held_out(world.train, 0.1, 1)
    before = judge_of(replace(world, train=subset(world.train, ~chosen)), protocol, 1)
    held = subset(world.train, chosen)
    assert found.details["temperature"] == fit_temperature(before.logits(held.features), held.targets)
    after = judge_of(world, protocol, 1)
    assert found.details["temperature"] != fit_temperature(after.logits(held.features), held.targets)
    figures = {metric.name: metric.value for metric in score(found.table)}
    assert figures["ece@ts"] < figures["ece"] / 2  # cosines are no logits until they are scaled


def test_images_that_are_asked_about_do_not_depend_on_their_order() -> None:
    world = blobs()
    protocol = PROTOCOL.model_copy(update={"n": 40, **FEW})
    found = Robustness().predict(world, protocol, seed=0)
    order = np.random.default_rng(1).permutation(len(world.test))
    test = type(world.test)(world.test.features[order], world.test.targets[order], world.test.ids.take(order))
    again = Robustness().predict(replace(world, test=test), protocol, seed=0)
    assert found.table.num_rows == 40 == found.details["images"]
    assert sorted(found.table["sample"].to_pylist()) == sorted(again.table["sample"].to_pylist())
    assert by_sample(found.table, "log_odds") == pytest.approx(by_sample(again.table, "log_odds"), rel=1e-5)


def test_datasets_in_which_nothing_can_be_unsure_are_skipped() -> None:
    task, world = Robustness(), labels_of(blobs())
    task.check(PROTOCOL, world)
    with pytest.raises(NotApplicable, match="two classes"):
        task.check(PROTOCOL, replace(world, classes=("one",)))
    with pytest.raises(NotApplicable, match="one label per image"):
        task.check(PROTOCOL, replace(world, multilabel=True))
    with pytest.raises(NotApplicable, match="ImageNet"):
        task.check(PROTOCOL.model_copy(update={"head": "own"}), world)
    assert isinstance(PROTOCOL, CalibrationSettings) and task.headline_of(PROTOCOL, "x", False) == "ece"
