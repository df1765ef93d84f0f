"""What each method lowers, against formulas written out; and a training that is short, repeatable and downhill."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmark.data.source import open_source
from benchmark.demo.loop import Recipe, fit, normalise, settle
from benchmark.demo.methods import FAINT, ORIENTATIONS, Masked, Method, gradients, nt_xent
from benchmark.demo.pool import WORLD, Pool, draw_pool
from benchmark.demo.train import METHODS, RECIPES, Name, make

STEPS = 8


@pytest.fixture(scope="module")
def pool() -> Pool:
    return draw_pool(96, classes=4, workers=1)


def test_nt_xent_is_equation_1_of_simclr() -> None:
    torch.manual_seed(0)
    z, temperature = torch.randn(6, 5), 0.3
    unit = (z / z.norm(dim=1, keepdim=True)).double().numpy()
    total = 0.0
    for i in range(6):
        partner = (i + 3) % 6
        others = [math.exp(float(unit[i] @ unit[k]) / temperature) for k in range(6) if k != i]
        total -= math.log(math.exp(float(unit[i] @ unit[partner]) / temperature) / sum(others))
    assert float(nt_xent(z, temperature)) == pytest.approx(total / 6, rel=1e-5)


@pytest.mark.parametrize("degrees", [10, 50, 90, 130, 170])
def test_a_ramp_of_brightness_votes_for_its_own_direction_alone(degrees: int) -> None:
    angle, slope = math.radians(degrees), 0.01
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    image = (0.5 + slope * (x * math.cos(angle) + y * math.sin(angle))).expand(1, 3, -1, -1)
    for view in (image, 1 - image):  # opposite directions are one
        inner = gradients(view, 8)[0, :, 1, 1]  # no border, where pixels are repeated
        expected = torch.zeros(ORIENTATIONS)
        length = 2 * slope  # of the central difference
        expected[degrees * ORIENTATIONS // 180] = length / math.hypot(length, FAINT)
        torch.testing.assert_close(inner, expected, atol=1e-4, rtol=1e-3)


def test_histograms_of_gradients_are_empty_where_there_is_no_edge() -> None:
    assert gradients(torch.rand(2, 3, 32, 32), 8).shape == (2, ORIENTATIONS, 4, 4)
    assert float(gradients(torch.full((2, 3, 32, 32), 0.3), 8).abs().max()) < 1e-3


def test_corruption_hides_whole_patches_and_leaves_the_rest_near_its_image() -> None:
    method = Masked()
    images = torch.full((64, 3, 64, 64), 0.9)
    corrupted = method.corrupt(images, torch.Generator().manual_seed(0))
    patches = corrupted.unfold(2, 8, 8).unfold(3, 8, 8)  # (64, 3, 8, 8, 8, 8)
    hidden = (patches == 0.5).all(-1).all(-1).all(1)
    some = (patches == 0.5).any(-1).any(-1).any(1)
    assert torch.equal(hidden, some)
    assert 0.2 < float(hidden.float().mean()) < 0.4  # a share between 0 and 0.6, 0.3 on average
    seen = patches.permute(0, 2, 3, 1, 4, 5)[~hidden]
    assert abs(float(seen.mean()) - 0.9) < 0.01


def test_the_pool_is_of_kinds_that_the_evaluation_never_shows_and_repeats_itself(pool: Pool) -> None:
    again = draw_pool(96, classes=4, workers=2)
    assert np.array_equal(pool.images, again.images)
    assert pool.images.shape == (96, 3, 64, 64)
    assert pool.images.dtype == np.uint8
    assert np.bincount(pool.labels).tolist() == [24] * 4
    assert len(np.unique(pool.images.reshape(96, -1), axis=0)) == 96
    shown = set(open_source("scored", "scenes:?classes=30&train=30&test=30").classes)
    assert not shown & set(open_source("learned", WORLD.format(classes=30, images=30, difficulty=0.5, seed=1)).classes)


@pytest.mark.parametrize("name", METHODS)
def test_training_repeats_itself_with_a_seed_and_goes_downhill(name: Name, pool: Pool) -> None:
    recipe = Recipe(STEPS, batch=32, rate=RECIPES[name].rate)
    torch.manual_seed(123)
    method, losses = make(name, pool, recipe, 5, lambda loss: None)
    torch.manual_seed(321)
    again, _ = make(name, pool, recipe, 5, lambda loss: None)
    other, _ = make(name, pool, recipe, 6, lambda loss: None)
    for key, tensor in method.saved().items():
        assert torch.equal(tensor, again.saved()[key]), key
    assert any(not torch.equal(tensor, other.saved()[key]) for key, tensor in method.saved().items())
    assert losses.isfinite().all()
    assert float(losses[-3:].mean()) < float(losses[:3].mean())


def test_settled_statistics_are_plain_averages_over_the_clean_images(pool: Pool) -> None:
    method: Method = METHODS["masked"](4)
    seen: list[torch.Tensor] = []
    first = next(m for m in method.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    settle(method.encoder, torch.from_numpy(pool.images), batch=48)
    everything = torch.cat(seen)
    torch.testing.assert_close(first.running_mean, everything.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert first.momentum == 0.1


def test_a_step_uses_every_image_once_per_epoch(pool: Pool) -> None:
    shown: list[torch.Tensor] = []

    class Watching(Masked):
        def loss(self, images: torch.Tensor, labels: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
            shown.append(images)
            return super().loss(images, labels, draws)

    fit(Watching(), pool, Recipe(3, batch=32), 0)
    once = (torch.cat(shown) * 255).round().byte().numpy()
    assert np.array_equal(np.sort(once.sum((1, 2, 3))), np.sort(pool.images.sum((1, 2, 3))))
    assert normalise(torch.tensor([[[[0.0]], [[0.5]], [[1.0]]]])).flatten().tolist() == [-1.0, 0.0, 1.0]
