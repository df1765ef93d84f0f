"""Robust accuracy against the exact one of linear networks, and what is refused."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from importlib.util import find_spec, module_from_spec
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.backbones.features import Raw
from benchmark.data.sample import digest_order
from benchmark.errors import BackboneError, NotApplicable, RequestError, SuiteError
from benchmark.metrics.registry import score
from benchmark.runner.registry import load_protocol
from benchmark.task import Labels, Predictions
from tasks.robustness import adversarial, autoattack
from tasks.robustness.adversarial import AdversarialSettings, predict_adversarial
from tasks.robustness.attacks import Network, pgd
from tasks.robustness.judge import Judge
from tasks.robustness.task import Robustness
from tests.backbones.building import PLAIN, Echo, echo
from tests.tasks.robustness.linear_world import SIZE, World, between, linear_world


def settings(**values: Any) -> AdversarialSettings:
    return AdversarialSettings(**{"name": "test", "autoattack": (), **values})


def predicted(
    monkeypatch: pytest.MonkeyPatch, world: World, protocol: AdversarialSettings, seed: int = 0
) -> Predictions:
    monkeypatch.setattr(adversarial, "judge_of", lambda inputs, protocol, seed: world.judge)
    return predict_adversarial(world.inputs, protocol, seed)


def figures(found: Predictions) -> dict[str, float]:
    return {metric.name: metric.value for metric in score(found.table)}


def test_fgsm_and_pgd_reach_the_exact_robust_accuracy_of_a_linear_network(monkeypatch: pytest.MonkeyPatch) -> None:
    world = linear_world(classes=2, count=40)
    eps = between(world.reach)
    found = figures(predicted(monkeypatch, world, settings(eps=[eps / 2, eps, 2 * eps])))
    assert found["top1"] == world.top1(0) == 95
    for one in (eps / 2, eps, 2 * eps):
        assert found[f"top1@fgsm-{one:g}"] == found[f"top1@pgd-{one:g}"] == world.top1(one)
    assert 20 < world.top1(eps) < 80


@pytest.mark.slow
def test_autoattack_reaches_the_exact_robust_accuracy_on_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    world = linear_world(classes=5, count=30)
    few = np.sort(digest_order(world.inputs.features.test.ids)[:20])
    eps = between(world.reach[few])
    outcome = predicted(monkeypatch, world, settings(eps=[eps], autoattack=[eps], autoattack_n=20))
    found = {metric.name: metric for metric in score(outcome.table)}
    best = found[f"top1@autoattack-{eps:g}"]
    assert best.value == world.top1(eps, few) and best.n == 20 and 10 < best.value < 90
    for attack in ("fgsm", "pgd"):  # of several classes they aim at no one: as good or less
        weaker = found[f"top1@{attack}-{eps:g}"]
        assert weaker.value >= world.top1(eps) and weaker.n == 30
    facts = outcome.details["autoattack"]
    assert facts == {"version": "standard", "images": 20, "target_classes": 4, "warnings": {}}
    assert outcome.table.column(f"autoattack-{eps:g}").null_count == 10


def test_autoattack_follows_from_its_seed_and_leaves_the_process_as_it_was() -> None:
    world = linear_world(classes=5, count=6)
    images = torch.from_numpy(world.inputs.images.test.reader.pixels) / 255
    targets, radius = world.inputs.features.test.targets, 1.1 * float(world.reach.max()) / 255
    network = Network(world.judge, world.inputs.images.backbone)

    def curved(x: torch.Tensor) -> torch.Tensor:  # of a linear one every attack ends in the same corner
        return network(x) + 0.1 * (200 * x).sin().flatten(1) @ world.weight.T

    state, tracing = torch.get_rng_state(), sys.gettrace()
    one, again, other = (autoattack.autoattack(curved, images, targets, radius, 5, seed)[0] for seed in (7, 7, 8))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state) and sys.gettrace() is tracing
    assert not logging.getLogger("auto-attack").handlers


def test_answers_do_not_depend_on_the_batch_size_or_the_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    world = linear_world(classes=5, count=40)
    eps = round(1.1 * float(world.reach.max()), 3)  # no image is left for the attacks that take long
    protocol = settings(eps=[eps], autoattack=[eps], steps=2)  # two steps leave the start to be seen
    one = predicted(monkeypatch, world, protocol).table
    larger = replace(world, inputs=replace(world.inputs, images=replace(world.inputs.images, batch_size=40)))
    assert predicted(monkeypatch, larger, protocol).table.equals(one)
    few = predicted(monkeypatch, world, settings(eps=[eps], steps=2, n=17)).table
    rows = {row["sample"]: row for row in one.to_pylist()}
    assert few.num_rows == 17
    for row in few.to_pylist():
        assert row[f"pgd-{eps:g}"] == rows[row["sample"]][f"pgd-{eps:g}"]


def test_the_start_of_pgd_follows_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = linear_world(classes=5, count=40)
    starts = []

    def kept(network, images, targets, radius, steps, start):
        starts.append(start)
        return pgd(network, images, targets, radius, steps, start)

    monkeypatch.setattr(adversarial, "pgd", kept)
    for seed in (0, 0, 1):
        predicted(monkeypatch, world, settings(eps=[1]), seed)
    first, again, other = (torch.cat(starts[i : i + 2]) for i in (0, 2, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= -1 and first.max() <= 1 and abs(float(first.mean())) < 0.02
    assert float(first.std()) == pytest.approx(3**-0.5, abs=0.01)


def test_what_is_wrong_without_an_attack_is_wrong_under_all(monkeypatch: pytest.MonkeyPatch) -> None:
    world = linear_world(classes=5)
    outcome = predicted(monkeypatch, world, settings(eps=[1, 2]))
    wrong = np.array(outcome.table["clean"]) != np.array(outcome.table["target"])
    assert wrong.sum() == 2 and outcome.details["attacked"] == 22
    for name in ("fgsm-1", "fgsm-2", "pgd-1", "pgd-2"):
        np.testing.assert_array_equal(np.array(outcome.table[name])[wrong], np.array(outcome.table["clean"])[wrong])


class Quantised(Echo):
    """Rounds its input to so many levels: flat wherever it is not a step, as a defence might be."""

    def _features(self, x: torch.Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        return super()._features((x * 16).round() / 16, names, layers)


class Sawtooth(Echo):
    """Adds waves that are level, and lead the right way, at images of 8 bits; in between slopes are the waves' own."""

    def _features(self, x: torch.Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        turns = 2 * torch.pi * 255 * x
        return super()._features(x + 0.002 * (1 - turns.cos()), names, layers)


def _world_of(kind: type[Echo], **values: Any) -> World:
    return linear_world(backbone=echo(PLAIN.override([f"size={SIZE}", "crop_pct=1"]), kind=kind), **values)


def test_rounding_that_hides_every_gradient_fails_instead_of_being_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world_of(Quantised, classes=3)
    with pytest.raises(BackboneError, match=r"gradient of exactly 0 for every image.*take rounding"):
        predicted(monkeypatch, world, settings(eps=[4]))


def test_gradients_that_lead_many_steps_astray_fail_instead_of_being_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world_of(Sawtooth, classes=2, count=60)
    eps = round(between(world.reach))
    with pytest.raises(
        BackboneError, match=rf"pgd-{eps} to be no weaker an attack than fgsm-{eps}; found top-1 .*p = "
    ):
        predicted(monkeypatch, world, settings(eps=[eps]))


def test_without_an_image_to_attack_every_figure_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    world = linear_world(classes=4)
    wrong = replace(world, judge=replace(world.judge, logits=lambda x: -world.judge.logits(x)))
    outcome = predicted(monkeypatch, wrong, settings(eps=[1], autoattack=[1]))
    assert outcome.details["attacked"] == 0 and outcome.details["zero_gradients"] is None
    assert set(figures(outcome).values()) == {0.0}


def test_an_attack_that_goes_too_far_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "fgsm", lambda images, slope, radius: images + 1.01 * radius)
    with pytest.raises(RuntimeError, match=r"fgsm-4 changed pixels by 4\.0400/255"):
        predicted(monkeypatch, linear_world(classes=3), settings(eps=[4]))


@pytest.mark.parametrize(
    "value", [4 / 255, 0.3, "4/255", "1,2", 0, -4, 255, True, [4, 4], [1, 0.01], float("nan"), None]
)
def test_radii_that_are_no_255ths_are_refused_in_one_line(value: object) -> None:
    for name in ("eps", "autoattack"):
        with pytest.raises(SuiteError, match=r"expected radii in 255ths.*write 4 for 4/255"):
            load_protocol(Robustness(), "robust/adversarial", {name: value})


def test_settings_make_a_protocol_with_a_name_and_a_headline_of_its_own() -> None:
    task = Robustness()
    full, tiny = (task.protocols[name] for name in ("robust/adversarial", "robust/adversarial@tiny"))
    assert task.headline_of(full, "x", False) == "top1@autoattack-4"
    assert task.headline_of(tiny, "x", False) == "top1@pgd-4"
    changed = load_protocol(task, "robust/adversarial@tiny", {"eps": [8, 0.5]})
    assert changed.name == "robust/adversarial@tiny+eps=0.5,8" and task.headline_of(changed, "x", False) == "top1@pgd-8"
    assert load_protocol(task, "robust/adversarial", {"eps": [1.0, 2, 4]}) is full
    for wrong in ({"eps": 2}, {"eps": []}, {"autoattack": 8}):
        with pytest.raises(SuiteError, match="AutoAttack's among them"):
            load_protocol(task, "robust/adversarial", wrong)
    for name in ("steps", "n", "autoattack_n"):
        with pytest.raises(SuiteError, match=f"{name} of 1 or more; found 0"):
            load_protocol(task, "robust/adversarial", {name: 0})


def test_autoattack_is_refused_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Robustness()
    full, tiny = (task.protocols[name] for name in ("robust/adversarial", "robust/adversarial@tiny"))
    for classes, protocols in ((3, [full]), (1, [full, tiny])):
        labels = Labels(np.zeros(4, np.int64), np.zeros(4, np.int64), tuple(map(str, range(classes))))
        for protocol in protocols:
            with pytest.raises(NotApplicable, match="classes"):
                task.check(protocol, labels)
    task.check_encoder(full, echo())
    monkeypatch.setitem(sys.modules, "pyautoattack", None)  # as where it is not installed
    spec = find_spec("tasks.robustness.autoattack")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module_from_spec(spec))  # nothing is imported before it is called
    task.check_encoder(tiny, echo())
    assert figures(predicted(monkeypatch, linear_world(classes=2), settings(eps=[1])))["top1@pgd-1"] < 100
    with pytest.raises(RequestError, match=r"pip install 'transferbench\[robust\]', or leave it out"):
        task.check_encoder(full, echo())


def test_the_packages_warnings_are_kept(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    world = linear_world(classes=4, count=6)
    generator = torch.Generator().manual_seed(0)

    def noisy(features: torch.Tensor) -> torch.Tensor:
        return world.judge.logits(features) + 0.05 * torch.randn(len(features), 4, generator=generator)

    random = replace(world, judge=Judge(noisy, "gap", None, "none", 0, {}))
    outcome = predicted(monkeypatch, random, settings(eps=[30], autoattack=[30]))
    assert not caplog.records
    assert any("randomized defense" in said for said in outcome.details["autoattack"]["warnings"])
