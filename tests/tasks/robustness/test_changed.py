"""Every stored answer is the head's about that image changed that much, however images are batched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from benchmark.backbones.backbone import Head
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.imagenet import imagenet_classes
from benchmark.errors import NotApplicable
from benchmark.metrics.changes import curves, kinds_of
from benchmark.metrics.registry import score
from benchmark.protocol import ProtocolSettings
from benchmark.task import ShiftInputs, SplitFeatures
from tasks.changes.colour import grey, turn_hue
from tasks.changes.frequency import bands
from tasks.changes.patches import drop_patches, shuffle_patches
from tasks.corruptions import digests
from tasks.robustness.judge import judge_of
from tasks.robustness.occlusion import mean_colour
from tasks.robustness.task import Robustness
from tests.tasks.robustness.photos import encoder, judged_alone, pixels_of_test, shift_inputs

FEW = {"lambdas": 3, "lambda_min": 0.1, "lambda_max": 100.0}
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "robust/occlusion": {"dropped": (0, 30, 80), "shuffled": (1, 4)},
    "robust/frequency": {"cutoffs": (3, 12.5)},
    "robust/colour": {"turned": (60, 180)},
}
Levels = Mapping[str, Mapping[float, Tensor]]


def occluded(images: Tensor, keys: Tensor, seed: int) -> Levels:
    return {
        "drop": {percent: drop_patches(images, percent, keys, seed) for percent in (0, 30, 80)},
        "shuffle": {grid: shuffle_patches(images, grid, keys, seed) for grid in (1, 4)},
    }


def filtered(images: Tensor, keys: Tensor, seed: int) -> Levels:
    found = {cutoff: next(iter(bands(images, [cutoff]))) for cutoff in (3, 12.5)}
    return {
        "low-pass": {cutoff: low for cutoff, (low, _) in found.items()},
        "high-pass": {cutoff: high for cutoff, (_, high) in found.items()},
    }


def recoloured(images: Tensor, keys: Tensor, seed: int) -> Levels:
    return {"grey": {100: grey(images)}, "hue": {degrees: turn_hue(images, degrees) for degrees in (60, 180)}}


CHANGES: Mapping[str, Callable[[Tensor, Tensor, int], Levels]] = {
    "robust/occlusion": occluded,
    "robust/frequency": filtered,
    "robust/colour": recoloured,
}


def settings(name: str, **more: object) -> ProtocolSettings:
    protocol = Robustness.protocols[name]
    return type(protocol).model_validate({**protocol.model_dump(), **FEW, **SETTINGS.get(name, {}), **more})


@pytest.fixture(scope="module")
def inputs() -> ShiftInputs:
    return shift_inputs()


@pytest.mark.parametrize("name", CHANGES)
def test_answers_are_the_heads_about_each_image_alone(name: str, inputs: ShiftInputs) -> None:
    protocol = settings(name)
    found = Robustness().predict(inputs, protocol, seed=2)
    judge = judge_of(inputs.features, protocol, 2)
    images, ids = pixels_of_test(inputs), inputs.images.test.ids.to_pylist()
    changed = CHANGES[name](images, digests(ids), 2)
    assert set(kinds_of(found.table)) == set(changed)
    assert len(set(np.array(found.table["clean"]))) > 1  # the head tells classes apart
    for kind, levels in changed.items():
        stored = np.array(found.table[kind].to_pylist())
        assert kinds_of(found.table)[kind].levels == tuple(levels)
        for place, version in enumerate(levels.values()):
            np.testing.assert_array_equal(stored[:, place], judged_alone(inputs, version, judge))
    assert found.selection == "train-10%" and found.selection_n == 6
    assert found.details["head"]["head"] == "probe" and found.details["images"] == 24


@pytest.mark.parametrize("name", CHANGES)
def test_the_batch_size_changes_no_answer(name: str, inputs: ShiftInputs) -> None:
    found = [Robustness().predict(one, settings(name), seed=0).table for one in (inputs, shift_inputs(batch_size=24))]
    assert found[0].schema.metadata == found[1].schema.metadata
    for column in found[0].column_names:
        one, other = (table[column].to_pylist() for table in found)
        assert one == (pytest.approx(other) if column == "residual" else other)


def test_where_nothing_is_changed_answers_are_those_about_clean_images(inputs: ShiftInputs) -> None:
    table = Robustness().predict(inputs, settings("robust/occlusion"), seed=0).table
    clean = np.array(table["clean"])
    assert (np.array(table["drop"].to_pylist())[:, 0] == clean).all()
    assert (np.array(table["shuffle"].to_pylist())[:, 0] == clean).all()
    figures = {metric.name: metric.value for metric in score(table)}
    assert figures["top1@drop-0"] == figures["top1@shuffle-1"] == figures["top1"]
    for levels, top1, _, _ in curves(table).values():
        assert top1[0] == figures["top1"] and len(set(levels)) == len(levels)


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoints_own_head_can_judge_and_nothing_of_train_is_read(name: str, inputs: ShiftInputs) -> None:
    features = inputs.features
    weight = torch.zeros(1000, features.test.features.shape[1])
    for label in range(3):
        weight[label] = features.test.features[features.test.targets == label].mean(dim=0)
    head = Head(weight, -weight.square().sum(dim=1) / 2, features.representation)
    nothing = SplitFeatures.none(features.device)
    own = replace(features, head=head, classes=tuple(imagenet_classes())[:3], train=nothing)
    protocol = settings(f"{name}/own-head", **SETTINGS[name])
    task = Robustness()
    assert not task.reads_train(protocol) and "head" in task.needs_of(protocol)
    found = task.predict(replace(inputs, features=own), protocol, seed=0)
    logits = features.test.features @ weight[:3].T - weight[:3].square().sum(dim=1) / 2
    np.testing.assert_array_equal(np.array(found.table["clean"]), logits.argmax(dim=1).numpy())
    assert "histogram" not in found.table.column_names and found.selection == "none"
    assert not any("histogram" in metric.name for metric in score(found.table))


def test_only_some_images_are_asked_about_where_the_protocol_says_so(inputs: ShiftInputs) -> None:
    everything = Robustness().predict(inputs, settings("robust/colour"), seed=0).table.to_pylist()
    some = Robustness().predict(inputs, settings("robust/colour", n=10), seed=0).table.to_pylist()
    rows = {row["sample"]: row for row in everything}
    assert len(some) == 10
    for row in some:
        wanted = {**rows[row["sample"]], "total": row["total"]}  # the mean colours are of those asked about
        assert row == {**wanted, "residual": pytest.approx(wanted["residual"])}


def test_dropped_patches_can_have_the_mean_colour(inputs: ShiftInputs) -> None:
    judge = judge_of(inputs.features, settings("robust/occlusion"), 0)
    colours = {"black": (0, 0, 0), "mean": mean_colour(inputs.images.backbone.preprocessing)}
    assert len(set(colours.values())) == 2
    for fill, colour in colours.items():
        protocol = settings("robust/occlusion", fill=fill, dropped=(50, 100))
        stored = np.array(Robustness().predict(inputs, protocol, seed=0).table["drop"].to_pylist())
        keys = digests(inputs.images.test.ids.to_pylist())
        for place, percent in enumerate((50, 100)):
            images = drop_patches(pixels_of_test(inputs), percent, keys, 0, colour=colour)
            np.testing.assert_array_equal(stored[:, place], judged_alone(inputs, images, judge))


def test_levels_that_make_no_sense_are_refused() -> None:
    for name, wrong, why in (
        ("robust/occlusion", {"dropped": (20, 10)}, "ascending order"),
        ("robust/occlusion", {"dropped": (10, 10)}, "each once"),
        ("robust/occlusion", {"dropped": (101,)}, "less than or equal to 100"),
        ("robust/occlusion", {"shuffled": ()}, "at least 1 item"),
        ("robust/frequency", {"cutoffs": (0,)}, "greater than 0"),
        ("robust/colour", {"turned": (45,)}, "multiple of 60"),
        ("robust/colour", {"turned": (360,)}, "less than 360"),
    ):
        with pytest.raises(ValidationError, match=why):
            settings(name, **wrong)


def test_encoders_of_too_few_pixels_are_told_apart_before_anything_runs() -> None:
    small = encoder(32)
    task = Robustness()
    with pytest.raises(NotApplicable, match="images of 40 pixels a side, one for each patch; found 32x32"):
        task.check_encoder(settings("robust/occlusion", shuffled=(40,)), small)
    with pytest.raises(NotApplicable, match=r"which have 16\.5 cycles; found 32x32"):
        task.check_encoder(settings("robust/frequency", cutoffs=(2, 16.5)), small)
    for name in CHANGES:
        task.check_encoder(settings(name), small)
    task.check_encoder(settings("robust/frequency", cutoffs=(2, 16)), small)


def test_the_mean_colour_is_what_normalisation_takes_to_nothing() -> None:
    for setting in (["mean=0.5", "std=0.25"], [], ["mean=123.7,116.3,103.5", "std=58", "value_range=255"]):
        for order in ("rgb", "bgr"):
            preprocessing = Preprocessing().override([*setting, f"channel_order={order}"])
            flat = torch.tensor(mean_colour(preprocessing), dtype=torch.uint8).view(1, 3, 1, 1)
            left = preprocessing.normalise(flat.expand(1, 3, 32, 32)).abs().amax()
            assert float(left) <= 0.5 / 255 / min(preprocessing.std) * preprocessing.value_range + 1e-6
