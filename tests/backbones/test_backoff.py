import pytest
import torch
from torch import Tensor

from benchmark.backbones.backoff import Backoff
from benchmark.backbones.features import Raw
from benchmark.errors import BackboneError
from tests.backbones.building import Echo, echo, pixels


class Device:
    """Doubles what fits in its memory; raises CUDA's out-of-memory error on the rest."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.sizes: list[int] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return batch * 2


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_nothing_is_lost() -> None:
    device, backoff = Device(fits=5), Backoff()
    batch = torch.arange(37)
    assert torch.equal(torch.cat(backoff.run(device, batch)), batch * 2)
    assert device.sizes[:4] == [37, 18, 9, 4] and max(device.sizes[3:]) == 4
    assert backoff.limit == 4


def test_the_size_that_fitted_is_remembered_by_the_next_batch() -> None:
    device, backoff = Device(fits=5), Backoff()
    backoff.run(device, torch.arange(16))
    device.sizes.clear()
    backoff.run(device, torch.arange(16))
    assert device.sizes == [4, 4, 4, 4]


def test_one_image_that_does_not_fit_is_an_error_of_one_line() -> None:
    with pytest.raises(BackboneError, match="batch size 1"):
        Backoff().run(Device(fits=0), torch.arange(3))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def fails(batch: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Backoff().run(fails, torch.arange(3))


class SmallDevice(Echo):
    """Runs out of memory above three images."""

    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        if len(x) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super()._features(x, names, layers)


def test_encode_backs_off_by_itself_and_gives_the_same_features() -> None:
    images = pixels(11, 32)
    small, large = echo(kind=SmallDevice), echo()
    assert torch.equal(small.encode(images).global_("gap"), large.encode(images).global_("gap"))
    assert torch.equal(small.encode(images).grid(), large.encode(images).grid())
    assert small.batch_limit == 2 and large.batch_limit is None
