"""Random numbers by counting: every image has a stream of its own, drawn for a whole batch at once on its device.

A stream is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) read by
position: word n is a hash of (key + n * golden), so it needs no state, no order and no loop over images. Everything
here is integer arithmetic and table look-ups, no logarithm or cosine, so a CPU and a GPU give the same numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import poisson
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # the increment and the two multipliers of splitmix64, as int64
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)
_LANE = 1 << 40  # words between two draws for the same image: more than any image has values


def digest(text: str) -> int:
    """The first 8 bytes of a text's BLAKE2 hash, as a signed 64-bit number."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def digests(ids: Sequence[str]) -> Tensor:
    """The digests of image ids: int64 (B,) on the CPU. They can be kept and handed over in the ids' place."""
    return torch.tensor([digest(name) for name in ids], dtype=torch.int64)


def _mixed(words: Tensor) -> Tensor:
    """splitmix64's finaliser, in place. A right shift of int64 copies the sign, so its high bits are masked off."""
    high = torch.empty_like(words)
    for shift, factor in ((30, _FIRST), (27, _SECOND), (31, None)):
        words ^= torch.bitwise_right_shift(words, shift, out=high).bitwise_and_((1 << (64 - shift)) - 1)
        if factor is not None:
            words *= factor
    return words


class Streams:
    """The random numbers of a batch for one corruption at one severity under one seed.

    A draw is named by its lane: the same lane gives the same numbers again, another lane gives independent ones.

    Args:
        ids: digests of the images' ids, int64 (B,).
        purpose: what the numbers are for (corruption and severity).
        seed: the seed of the run.
        device: where the drawn fields are to be.
    """

    def __init__(self, ids: Tensor, purpose: str, seed: int, device: torch.device) -> None:
        root = _mixed(torch.tensor([digest(f"{seed}\0{purpose}")], dtype=torch.int64))
        self._host = _mixed(ids.cpu() ^ root)  # scalars are drawn here, so that none of them waits for the device
        self._keys = self._host.to(device)

    def words(self, count: int, lane: int) -> Tensor:
        """64 random bits each: int64 (B, count)."""
        return _words(self._keys, count, lane)

    def scalars(self, count: int, lane: int) -> np.ndarray:
        """A few numbers per image, uniform in [0, 1): float64 (B, count) on the CPU."""
        return (_words(self._host, count, lane).numpy().view(np.uint64) >> np.uint64(11)) * 2.0**-53

    def bits(self, shape: tuple[int, ...], lane: int) -> Tensor:
        """32 random bits each: int32 (B, *shape)."""
        return self._parts(shape, lane, torch.int32)

    def uniforms(self, shape: tuple[int, ...], lane: int) -> Tensor:
        """Uniform in [0, 1), in steps of 2^-24: float32 (B, *shape)."""
        return self.bits(shape, lane).bitwise_right_shift_(8).bitwise_and_((1 << 24) - 1).float().mul_(2.0**-24)

    def normals(self, shape: tuple[int, ...], lane: int) -> Tensor:
        """Standard normal, one of 65,536 equally likely quantiles (see `normal_quantiles`): float32 (B, *shape)."""
        index = self._parts(shape, lane, torch.int16).int().add_(1 << 15)
        return _quantile_table(index.device).index_select(0, index.view(-1)).view(index.shape)

    def integers(self, shape: tuple[int, ...], below: int, lane: int) -> Tensor:
        """Integers from 0 to `below` - 1 (at most 2^15), each as likely to 2^-16: int32 (B, *shape)."""
        parts = self._parts(shape, lane, torch.int16).int().bitwise_and_(0xFFFF)
        return parts.mul_(below).bitwise_right_shift_(16)

    def poisson(self, images: Tensor, scale: float, lane: int) -> Tensor:
        """Counts of a Poisson process with mean images / 255 * scale: int32, the shape of `images` (uint8 (B, ...)).

        By the alias method (Walker 1977): 8 bits choose a column of the grey value's table, 16 decide between the
        column's two counts. A count's probability is exact to 2^-22.
        """
        bits = self.bits(tuple(images.shape[1:]), lane)
        cell = (bits & 0xFF).add_(images.int(), alpha=256)
        packed = _alias_table(scale, images.device).index_select(0, cell.view(-1)).view(cell.shape)
        # a cell is (threshold, count above it, count below it); shift the count that is meant to the low byte
        above = ((bits >> 8).bitwise_and_(0xFFFF) >= (packed >> 16).bitwise_and_(0xFFFF)).int()
        return (packed >> (above << 3)).bitwise_and_(0xFF)

    def _parts(self, shape: tuple[int, ...], lane: int, dtype: torch.dtype) -> Tensor:
        """Each word cut into values of a smaller integer type: (B, *shape)."""
        count, fit = math.prod(shape), 8 // dtype.itemsize
        return self.words(-(-count // fit), lane).view(dtype)[:, :count].reshape(-1, *shape)


def _words(keys: Tensor, count: int, lane: int) -> Tensor:
    """Words `lane` * 2^40 .. + count of every stream: int64 (B, count)."""
    return _mixed(keys[:, None] + _steps(count, lane, keys.device))


@lru_cache(maxsize=16)  # not all: images may come in many sizes
def _steps(count: int, lane: int, device: torch.device) -> Tensor:
    """What each position adds to a key."""
    return (torch.arange(count, device=device) + (1 + lane * _LANE)) * _GOLDEN


@cache
def normal_quantiles() -> np.ndarray:
    """A normal distribution in 65,536 equally likely values, lowest first: float64.

    Each stands for one slice of the distribution by the root of the slice's mean square, so the variance is exactly
    one; the outermost is 4.4 standard deviations from the mean.
    """
    edges = ndtri(np.arange(1 << 15, (1 << 16) + 1) / (1 << 16))  # the upper half; the lower one mirrors it
    density = np.exp(-0.5 * edges**2) / math.sqrt(2 * math.pi)
    moment = np.where(np.isinf(edges), 0.0, edges) * density  # of x^2: the integral is (cdf - x * density)
    upper = np.sqrt(1 + (moment[:-1] - moment[1:]) * (1 << 16))
    return np.concatenate([-upper[::-1], upper])


@cache
def _quantile_table(device: torch.device) -> Tensor:
    return torch.from_numpy(normal_quantiles()).float().to(device)


@cache
def _alias_table(scale: float, device: torch.device) -> Tensor:
    """For 256 grey values, 256 columns of threshold << 16 | count above << 8 | count below: int32 (65536,)."""
    levels, every = np.arange(256), np.arange(256)
    share = poisson.pmf(every, levels[:, None] / 255.0 * scale)
    share *= 256 / share.sum(1, keepdims=True)
    threshold, above = np.ones((256, 256)), np.tile(every, (256, 1))
    for _ in range(255):  # in every row the poorest column left is filled up by the richest
        poor, rich = np.where(share < 1, share, 2).argmin(1), share.argmax(1)
        part = share[levels, poor]
        short = part < 1
        threshold[levels[short], poor[short]], above[levels[short], poor[short]] = part[short], rich[short]
        share[levels, rich] -= np.where(short, 1 - part, 0)
        share[levels[short], poor[short]] = 1  # and is done with
    # a full column gives its own count on both sides, so that a threshold of 2^16 - 1 loses nothing
    cut = np.minimum(np.round(threshold * 65536), 65535).astype(np.int64)
    table = (cut << 16 | above << 8 | every).astype(np.uint32).view(np.int32)
    return torch.from_numpy(table.reshape(-1)).to(device)
