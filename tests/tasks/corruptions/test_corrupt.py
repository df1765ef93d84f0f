"""The way in: the same image gets the same pixels whatever surrounds it, and nonsense is refused."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.errors import DataError, SuiteError
from tasks.corruptions import CORRUPTIONS, NAMES, corrupt, digests
from tasks.corruptions.draws import Streams
from tasks.corruptions.frost import COUNT, crops

RANDOM = [name for name, corruption in CORRUPTIONS.items() if corruption.draw.__name__ != "_nothing"]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 8, 9, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(72, 90), mode="bicubic").clamp(0, 1)
    return (fine * 255).to(torch.uint8)


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


IDS = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_neither_the_batch_nor_its_order_nor_its_parts_change_an_image(
    name: str, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("tasks.corruptions.corrupt")
    for severity in (1, 3, 5):
        whole = corrupt(images, name, severity, IDS)
        assert whole.dtype == torch.uint8 and whole.shape == images.shape
        assert not torch.equal(whole, images)
        assert torch.equal(corrupt(images.flip(0), name, severity, IDS[::-1]).flip(0), whole)
        assert torch.equal(corrupt(images[3:4], name, severity, ["d"]), whole[3:4])
        strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        assert torch.equal(corrupt(strided, name, severity, IDS), whole)
        monkeypatch.setitem(module._PIXELS, "cpu", 2 * 72 * 90)
        assert torch.equal(corrupt(images, name, severity, IDS), whole)
        monkeypatch.undo()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_input_is_left_as_it_was(name: str, images: torch.Tensor) -> None:
    before = images.clone()
    for severity in (1, 5):
        corrupt(images, name, severity, IDS)
        assert torch.equal(images, before)


@pytest.mark.parametrize("name", RANDOM)
def test_id_seed_and_severity_change_what_is_random(name: str, images: torch.Tensor) -> None:
    same = images[:1].expand(3, -1, -1, -1)
    x = corrupt(same, name, 3, ["a", "b", "a"])
    assert torch.equal(x[0], x[2]) and not torch.equal(x[0], x[1])
    assert not torch.equal(corrupt(same[:1], name, 3, ["a"], seed=1)[0], x[0])
    assert torch.equal(corrupt(same, name, 3, digests(["a", "b", "a"])), x)


def test_what_is_not_random_ignores_id_and_seed(images: torch.Tensor) -> None:
    for name in set(CORRUPTIONS) - set(RANDOM):
        assert torch.equal(corrupt(images, name, 2, IDS), corrupt(images, name, 2, IDS[::-1], seed=5)), name


def test_angles_fall_in_the_papers_ranges_and_frost_uses_every_picture_everywhere() -> None:
    some = Streams(digests([str(i) for i in range(4000)]), "x", 0, torch.device("cpu"))
    few = torch.zeros(4000, 3, 32, 32, dtype=torch.uint8)
    (angles,) = CORRUPTIONS["motion_blur"].draw(some, few)
    assert -45 <= angles.min() < -44 and 44 < angles.max() < 45 and abs(angles.mean()) < 2
    _, falls = CORRUPTIONS["snow"].draw(some, few[:, :, :1, :1], *CORRUPTIONS["snow"].parameters[0])
    assert -135 <= falls.min() < -134 and -46 < falls.max() < -45
    (moves,) = CORRUPTIONS["glass_blur"].draw(some, few[:4000], 1.5, 4, 2)
    assert moves.shape == (4000, 2, 2, 24, 24) and moves.min() == -4 and moves.max() == 3
    draws = np.array([[(i + 0.5) / COUNT, at, at] for i in range(COUNT) for at in (0.0, 0.999999)])
    ice = crops(draws, 224, 224, torch.device("cpu"))
    assert len({picture.numpy().tobytes() for picture in ice}) == 2 * COUNT
    assert 60 < float(ice.float().mean()) < 220 and float(ice.float().std((1, 2, 3)).min()) > 10


@pytest.mark.parametrize("size", [(32, 32), (32, 500), (600, 40), (97, 61), (500, 760)])
def test_any_size_from_32_pixels_on_works(size: tuple[int, int]) -> None:
    x = (torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    for name in CORRUPTIONS:
        for severity in (1, 5):
            assert corrupt(x, name, severity, ["a"]).shape == x.shape


def test_no_image_no_work() -> None:
    empty = torch.empty(0, 3, 64, 64, dtype=torch.uint8)
    for name in NAMES:
        assert corrupt(empty, name, 1, []).shape == empty.shape


class Largest(TorchDispatchMode):
    """The bytes of the largest piece of memory that an operation gives."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_memory_is_that_of_a_part_however_large_the_batch(name: str, one_thread: None) -> None:
    """No single array has more than 32 bytes for a value of a part (the batch's result aside)."""
    x = torch.zeros(160, 3, 64, 64, dtype=torch.uint8)
    x[:, :, 20:40] = 200
    part = 8 * 224**2 * 3
    assert x.numel() > 1.5 * part
    with Largest() as largest:
        corrupt(x, name, 5, [str(i) for i in range(160)])
    assert largest.bytes <= max(32 * part, x.numel())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_number_of_threads_changes_nothing_and_is_left_as_it_was(name: str, images: torch.Tensor) -> None:
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(corrupt(images, name, 3, IDS))
            assert torch.get_num_threads() == count
        assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    finally:
        torch.set_num_threads(threads)


def test_nonsense_is_refused_in_one_line(images: torch.Tensor) -> None:
    with pytest.raises(SuiteError, match="did you mean gaussian_noise"):
        corrupt(images, "gausian_noise", 1, IDS)
    for severity in (0, 6, 2.5):
        with pytest.raises(SuiteError, match="a severity from 1 to 5"):
            corrupt(images, "fog", severity, IDS)  # type: ignore[arg-type]
    for wrong in (images.float(), images[:, :1], images[0]):
        with pytest.raises(DataError, match=r"uint8 \(B, 3, H, W\)"):
            corrupt(wrong, "fog", 1, IDS)
    with pytest.raises(DataError, match="at least 32 pixels a side; found 31 x 90"):
        corrupt(images[:, :, :31], "fog", 1, IDS)
    with pytest.raises(DataError, match="4 ids for 5 images"):
        corrupt(images, "fog", 1, IDS[:4])
    with pytest.raises(DataError, match="int64 digests"):
        corrupt(images, "fog", 1, torch.arange(5, dtype=torch.int32))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_gpu_gives_the_cpus_pixels(name: str, images: torch.Tensor) -> None:
    for severity in (1, 2, 3, 4, 5):
        found = corrupt(images.cuda(), name, severity, IDS).cpu()
        distance = (found.int() - corrupt(images, name, severity, IDS).int()).abs()
        # interpolation rounds its weights differently; everything else is exact
        assert int(distance.max()) <= 1 and float((distance > 0).double().mean()) < 1e-4
