from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.scenes.draws import Draws
from benchmark.data.scenes.kinds import MAX_KINDS, Family, kinds
from benchmark.data.scenes.shapes import EXTENT, SHAPES
from benchmark.data.scenes.textures import LATTICE, TEXTURES, grid_noise, smooth_noise

AXIS = ((np.arange(600) + 0.5) / 600 * 2.8 - 1.4).astype(np.float32)
X, Y = np.meshgrid(AXIS, AXIS)


@pytest.mark.parametrize("name", list(SHAPES))
def test_shapes_have_one_area_and_stay_within_their_extent(name: str) -> None:
    distance = SHAPES[name](X, Y)
    inside = distance < 0
    assert inside.mean() * 2.8**2 == pytest.approx(1.9, rel=0.04)
    assert np.sqrt(X * X + Y * Y)[inside].max() < EXTENT


@pytest.mark.parametrize("name", list(SHAPES))
def test_distances_have_unit_slope_at_the_outline_so_that_edges_are_smooth(name: str) -> None:
    distance = SHAPES[name](X, Y).astype(np.float64)
    gy, gx = np.gradient(distance, 2.8 / 600)
    near = np.abs(distance) < 0.02
    assert np.median(np.hypot(gx, gy)[near]) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", list(TEXTURES))
def test_every_texture_covers_half_of_the_surface(name: str) -> None:
    values = []
    for seed in range(8):
        lattice = Draws((seed,)).uniform(LATTICE, LATTICE).astype(np.float32)
        values.append(TEXTURES[name](X * 6 + seed * 0.3, Y * 6, 8.0, lattice))
    mixed = np.stack(values)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert mixed.mean() == pytest.approx(0.5, abs=0.03)


def test_noise_on_a_grid_is_noise_at_its_points() -> None:
    lattice = Draws((1,)).uniform(LATTICE, LATTICE).astype(np.float32)
    x, y = np.linspace(-3, 40, 50, dtype=np.float32), np.linspace(0, 20, 30, dtype=np.float32)
    everywhere = smooth_noise(*np.meshgrid(x, y), lattice)
    np.testing.assert_allclose(grid_noise(x, y, lattice), everywhere, atol=1e-6)
    assert smooth_noise(np.full((1, 1), 3, np.float32), np.full((1, 1), 5, np.float32), lattice)[0, 0] == lattice[5, 3]


def test_draws_are_uniform_and_depend_on_the_entropy_alone() -> None:
    u = Draws((7, 1)).uniform(100_000)
    assert u.min() >= 0
    assert u.max() < 1
    assert np.histogram(u, 10, (0, 1))[0] == pytest.approx(10_000, rel=0.04)
    np.testing.assert_array_equal(u, Draws((7, 1)).uniform(100_000))
    assert not np.array_equal(u, Draws((7, 2)).uniform(100_000))
    # PCG64's own doubles are defined by the same 53 bits
    reference = np.random.Generator(np.random.PCG64(np.random.SeedSequence([7, 1]))).random(5)
    np.testing.assert_array_equal(u[:5], reference)


def test_the_families_share_parts_but_no_kind() -> None:
    a, b = kinds("a", MAX_KINDS), kinds("b", MAX_KINDS)
    assert len(set(a)) == len(set(b)) == MAX_KINDS == 30
    assert not set(a) & set(b)
    assert {kind.shape for kind in a} == {kind.shape for kind in b} == set(SHAPES)
    assert {kind.texture for kind in a} == {kind.texture for kind in b} == set(TEXTURES)
    assert kinds("a", 7) == a[:7]


@pytest.mark.parametrize("family", ["a", "b"])
def test_neither_shape_nor_texture_alone_tells_ten_kinds_apart(family: Family) -> None:
    ten = kinds(family, 10)
    assert len({kind.shape for kind in ten}) <= 5
    assert len({kind.texture for kind in ten}) <= 5
