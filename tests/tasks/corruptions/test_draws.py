"""The random numbers: what they are distributed like, and that nothing ties one stream to another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tasks.corruptions.draws import Streams, digests, normal_quantiles

CPU = torch.device("cpu")


def streams(*ids: str, purpose: str = "gaussian_noise/1", seed: int = 0) -> Streams:
    return Streams(digests(ids), purpose, seed, CPU)


def test_words_are_those_of_splitmix64() -> None:
    """Computed here in Python's integers from the published algorithm, begun at the stream's key."""
    mask = (1 << 64) - 1

    def finalised(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    some = streams("a", "b")
    for key, found in zip(some._host.tolist(), some.words(5, 0).tolist(), strict=True):
        state, wanted = key & mask, []
        for _ in range(5):
            state = (state + 0x9E3779B97F4A7C15) & mask
            wanted.append(finalised(state))
        assert [word & mask for word in found] == wanted


def test_normals_have_a_normals_moments_and_distribution() -> None:
    z = streams("a", "b", "c", "d").normals((500, 500), 0).double().flatten().numpy()  # 10^6
    bound = 4 / np.sqrt(len(z))
    assert abs(z.mean()) < bound and abs(z.var() - 1) < bound * np.sqrt(2)
    assert abs(stats.skew(z)) < bound * np.sqrt(6) and abs(stats.kurtosis(z)) < bound * np.sqrt(24)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs((np.abs(z) > 3).mean() / (2 * stats.norm.sf(3)) - 1) < 0.1


def test_the_table_of_normals_is_symmetric_of_unit_variance_and_reaches_far() -> None:
    table = normal_quantiles()
    assert len(table) == 65536 and (np.diff(table) > 0).all()
    np.testing.assert_allclose(table, -table[::-1], rtol=1e-12)
    assert abs((table**2).mean() - 1) < 1e-9 and 4.3 < table[-1] < 4.6
    assert stats.kstest(table, "norm").statistic < 1 / 65536


def test_uniforms_and_scalars_are_uniform() -> None:
    u = streams("a", "b").uniforms((300, 1000), 0).double().flatten().numpy()
    assert u.min() >= 0 and u.max() < 1 and stats.kstest(u, "uniform").pvalue > 1e-3
    scalars = streams(*(str(i) for i in range(2000))).scalars(3, 0)
    assert stats.kstest(scalars.flatten(), "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(scalars.T) - np.eye(3)).max() < 4 / np.sqrt(2000)


@pytest.mark.parametrize("below", [2, 4, 6, 8])
def test_integers_are_equally_likely(below: int) -> None:
    counts = np.bincount(streams("a").integers((400, 1000), below, 0).flatten().numpy(), minlength=below)
    assert len(counts) == below and stats.chisquare(counts).pvalue > 1e-3


def test_each_bit_is_fair_and_bits_do_not_go_together() -> None:
    words = streams("a").words(200_000, 0).numpy().view(np.uint64).squeeze()
    bits = (words[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)).astype(np.float64)
    bound = 5 / np.sqrt(len(words))
    assert np.abs(bits.mean(0) - 0.5).max() < bound / 2
    assert np.abs(np.corrcoef(bits.T) - np.eye(64)).max() < bound
    assert np.abs((bits[1:] - 0.5).T @ (bits[:-1] - 0.5) * 4 / len(words)).max() < bound  # with the next word


@pytest.mark.parametrize("photons", [60, 25, 12, 5, 3])
def test_counts_are_poissons_for_every_level(photons: float) -> None:
    some = streams(*(str(i) for i in range(64)))
    levels = torch.tensor([0, 1, 7, 64, 128, 200, 254, 255], dtype=torch.uint8)
    counts = some.poisson(levels[:, None].expand(64, 8, 4000).contiguous(), photons, 0)
    for row, level in enumerate(levels.tolist()):
        found = np.bincount(counts[:, row].flatten().numpy(), minlength=256)
        wanted = stats.poisson.pmf(np.arange(256), level / 255 * photons) * found.sum()
        rare = wanted < 20
        observed, expected = np.append(found[~rare], found[rare].sum()), np.append(wanted[~rare], wanted[rare].sum())
        expected = np.maximum(expected, 1e-9)
        if len(observed) == 1 or level == 0:
            assert found[0] == found.sum()
        elif expected[-1] < 5:
            assert (
                stats.chisquare(observed[:-1], expected[:-1] * observed[:-1].sum() / expected[:-1].sum()).pvalue > 1e-4
            )
        else:
            assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


def far_apart(first: Tensor, second: Tensor) -> None:
    """Two fields are uncorrelated at every offset of up to 3 rows and columns, and share no more values than chance."""
    assert not torch.equal(first, second)
    bound = 5 / first.numel() ** 0.5
    for row in range(-3, 4):
        for column in range(-3, 4):
            moved = second.roll((row, column), (-2, -1))
            assert abs(float((first * moved).mean())) < bound


def test_streams_of_images_severities_corruptions_seeds_and_lanes_are_independent() -> None:
    shape = (300, 400)
    base = streams("a").normals(shape, 0)[0].double()
    others = {
        "image": streams("b").normals(shape, 0),
        "severity": streams("a", purpose="gaussian_noise/2").normals(shape, 0),
        "corruption": streams("a", purpose="speckle_noise/1").normals(shape, 0),
        "seed": streams("a", seed=1).normals(shape, 0),
        "lane": streams("a").normals(shape, 1),
    }
    for other in others.values():
        far_apart(base, other[0].double())
    for row in range(4):  # nor is a field tied to itself a few pixels on
        for column in range(4):
            if (row, column) != (0, 0):
                moved = base.roll((row, column), (0, 1))
                assert abs(float((base * moved).mean())) < 5 / base.numel() ** 0.5


def test_a_thousand_images_have_uncorrelated_fields() -> None:
    z = streams(*(f"image-{i}.jpg" for i in range(1000))).normals((2000,), 0).double()
    products = (z @ z.T) / 2000
    products.fill_diagonal_(0)
    assert float(products.abs().max()) < 6 / 2000**0.5
    assert abs(float(products.pow(2).mean() * 2000) - 1) < 0.05
