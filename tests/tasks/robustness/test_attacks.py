"""FGSM and PGD against what can be worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmark.errors import BackboneError
from tasks.robustness.attacks import BATCH, Network, fgsm, gradient, margin, pgd
from tests.backbones.building import PLAIN, echo
from tests.tasks.robustness.linear_world import SIZE, Forgetful, World, linear_world


@pytest.fixture
def world() -> World:
    return linear_world(classes=2)


def images_of(world: World) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(world.inputs.images.test.reader.pixels)
    return pixels.float() / 255, world.inputs.features.test.targets


def network_of(world: World) -> Network:
    return Network(world.judge, world.inputs.images.backbone)


def uniform(images: Tensor, seed: int = 0) -> Tensor:
    return 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)) - 1


def test_a_step_of_fgsm_on_a_linear_network_is_the_sign_of_the_difference_of_two_rows(world: World) -> None:
    images, targets = images_of(world)
    away = (world.weight[1 - targets] - world.weight[targets]).view_as(images).sign()
    slope = gradient(network_of(world), images, targets)
    assert torch.equal(fgsm(images, slope, 3 / 255), images + 3 / 255 * away)
    assert torch.equal(fgsm(images, slope, 0.9), (images + 0.9 * away).clamp(0, 1))  # pixels stay pixels


@pytest.mark.parametrize("steps", [1, 3, 40])
def test_pgd_ends_in_the_worst_corner_of_a_linear_network(world: World, steps: int) -> None:
    images, targets = images_of(world)
    away = (world.weight[1 - targets] - world.weight[targets]).view_as(images).sign()
    found = pgd(network_of(world), images, targets, 5 / 255, steps, uniform(images))
    torch.testing.assert_close(found, images + 5 / 255 * away, rtol=0, atol=1e-7)


def test_pgd_begins_at_random_and_never_leaves_the_ball_or_the_range_of_pixels() -> None:
    images, targets = torch.rand(4, 3, SIZE, SIZE), torch.zeros(4, dtype=torch.long)
    images[0], images[1] = 0, 1
    seen: list[Tensor] = []

    def network(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return torch.stack([x.square().sum((1, 2, 3)), x.sin().sum((1, 2, 3))], dim=1)

    start = uniform(images)
    found = pgd(network, images, targets, 8 / 255, 10, start)
    torch.testing.assert_close(seen[0], (images + 8 / 255 * start).clamp(0, 1))
    for one in (*seen, found):
        assert (one - images).abs().max() <= 8 / 255 + 1e-7 and one.min() >= 0 and one.max() <= 1
    step = (seen[1] - seen[0]).abs()
    assert float(step.max()) == pytest.approx(2.5 * 8 / 255 / 10, abs=1e-7)
    assert len(seen) == 10


def test_the_loss_climbs_as_cross_entropy_does_and_is_not_lost_where_the_network_is_sure() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(7, (50,), generator=generator)
    ours, theirs = (value.clone().requires_grad_() for value in (logits, logits))
    torch.testing.assert_close(
        torch.log1p(margin(ours, targets).exp()), cross_entropy(theirs, targets, reduction="none")
    )
    margin(ours, targets).sum().backward()
    cross_entropy(theirs, targets, reduction="sum").backward()
    scale = 1 - logits.softmax(1).gather(1, targets[:, None])
    torch.testing.assert_close(ours.grad * scale, theirs.grad)
    # a network sure beyond float32: cross-entropy has lost the target's logit, and further on everything
    for gap in (30.0, 200.0):
        sure = torch.tensor([[gap, 0.0, -1.0]], requires_grad=True)
        cross_entropy(sure, torch.tensor([0])).backward()
        assert sure.grad is not None and float(sure.grad[0, 0]) == 0
        again = sure.detach().requires_grad_()
        margin(again, torch.tensor([0])).sum().backward()
        assert again.grad is not None and again.grad[0, 0] == -1 and again.grad[0, 1] > again.grad[0, 2] > 0


def test_an_attack_that_does_not_fit_in_memory_begins_again_in_parts_and_finds_the_same() -> None:
    preprocessing = PLAIN.override([f"size={SIZE}", "crop_pct=1"])
    large, small = linear_world(5), linear_world(5, backbone=echo(preprocessing, kind=Forgetful))
    images, targets = images_of(large)
    expected = network_of(large).fitting(pgd, images, targets, 0.05, 5, uniform(images))
    assert torch.equal(network_of(small).fitting(pgd, images, targets, 0.05, 5, uniform(images)), expected)
    forgetful = small.inputs.images.backbone
    assert isinstance(forgetful, Forgetful)
    forgetful.most = 0
    with pytest.raises(BackboneError, match="gradient of one image"):
        network_of(small).fitting(gradient, images, targets)


def test_without_gradients_the_network_is_the_ordinary_way(world: World) -> None:
    images, _ = images_of(world)
    network = network_of(world)
    with torch.no_grad():
        plain = network(images.requires_grad_())
    assert not plain.requires_grad and network(images).requires_grad and len(images) <= BATCH
    torch.testing.assert_close(network(images).detach(), plain)
