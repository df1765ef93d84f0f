import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.backbones.execution import plan_execution
from benchmark.errors import ResultError, SuiteError
from tasks.openmmlab.decay import optimiser_of
from tasks.openmmlab.schedule import Schedule
from tasks.openmmlab.train import train

CPU = plan_execution("cpu")


class Toy(nn.Module):
    """A regression with the interface of an mmdet model, dropout and a loss that draws from every generator."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))

    def data_preprocessor(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        """As it is."""
        assert training
        return batch

    def loss(self, inputs: torch.Tensor, data_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mean squares, with noise."""
        noise = random.random() + np.random.get_bit_generator().random_raw() / 2**64
        return {"loss_a": (self.net(inputs) - data_samples).square().mean(), "loss_b": self.net(inputs).mean() * noise}

    def parse_losses(self, losses: dict[str, torch.Tensor]) -> tuple[torch.Tensor, None]:
        """Their sum."""
        return sum(losses.values()), None


def batches(start: int) -> Iterator[dict[str, Any]]:
    """Drawn from the number of the iteration."""
    index = start
    while True:
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(16, 4, generator=generator)
        yield {"inputs": x, "data_samples": x.sum(1, keepdim=True)}
        index += 1


@pytest.mark.parametrize("settings", [{"optimizer": "adamw", "clip_norm": 1.0}, {"optimizer": "sgd", "spare": "norms"}])
def test_a_training_that_was_killed_ends_as_one_that_was_not(tmp_path: Path, settings: dict[str, Any]) -> None:
    schedule = Schedule(iterations=40, lr=0.01, decay="poly", warmup=5, **settings)
    whole, cut = Toy(), Toy()
    often: dict[str, Any] = {"execution": CPU, "key": "a", "seed": 3, "every": 15, "window": 10}
    curve = train(whole, batches, schedule, snapshot=tmp_path / "whole.pth", **often)

    def dying(start: int) -> Iterator[dict[str, Any]]:
        for offset, batch in enumerate(batches(start)):
            if start + offset == 23:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        train(cut, dying, schedule, snapshot=tmp_path / "cut.pth", **often)
    again = Toy()
    seen: list[int] = []
    random.seed(99)
    torch.manual_seed(99)
    found = train(
        again, batches, schedule, snapshot=tmp_path / "cut.pth", **often,
        progress=lambda done, loss: seen.append(done),
    )  # fmt: skip
    assert found == curve and [i for i, _ in curve] == [10, 15, 20, 30, 40] and seen == [20, 30, 40]
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    assert train(Toy(), batches, schedule, execution=CPU, key="a", seed=3, snapshot=tmp_path / "cut.pth") == curve


def test_a_snapshot_of_another_training_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    schedule, path = Schedule(iterations=2, lr=0.1), tmp_path / "state.pth"
    train(Toy(), batches, schedule, execution=CPU, key="a", seed=3, snapshot=path)
    with pytest.raises(ResultError, match="the training b, seed 3; found a, seed 3"):
        train(Toy(), batches, schedule, execution=CPU, key="b", seed=3, snapshot=path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ResultError, match="the state of a training"):
        train(Toy(), batches, schedule, execution=CPU, key="a", seed=3, snapshot=path)


def test_a_loss_that_is_not_finite_stops_the_training_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    def poisoned(start: int) -> Iterator[dict[str, Any]]:
        for offset, batch in enumerate(batches(start)):
            yield {**batch, "inputs": batch["inputs"] * math.nan} if start + offset == 7 else batch

    schedule, path = Schedule(iterations=10, lr=0.1), tmp_path / "state.pth"
    with pytest.raises(ResultError, match="a finite loss; found nan within the 5 iterations before 10"):
        train(Toy(), poisoned, schedule, execution=CPU, key="a", seed=3, snapshot=path, every=5)
    assert torch.load(path, weights_only=True)["iteration"] == 5


def test_rates_follow_the_decay_times_the_warmup() -> None:
    steps = Schedule(iterations=24000, lr=0.02, decay="step", milestones=(18000, 22000), warmup=100, warmup_start=0.001)
    assert steps.factor(0) == 0.001
    assert steps.factor(50) == pytest.approx(0.5005)  # detectron2: factor * (1 - alpha) + alpha, alpha = 50 / 100
    assert [steps.factor(i) for i in (100, 17999, 18000, 21999, 22000)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    poly = Schedule(iterations=40000, lr=1e-3, decay="poly", warmup=1500, warmup_start=1e-6)
    assert poly.factor(0) == 1e-6 and poly.factor(20000) == 0.5 and poly.factor(39999) == pytest.approx(1 / 40000)
    # mmcv's linear warm-up: (1 - i / T) (1 - (1 - i / warm-up) (1 - ratio))
    assert poly.factor(300) == pytest.approx((1 - 300 / 40000) * (1 - (1 - 0.2) * (1 - 1e-6)))
    assert Schedule(iterations=10, lr=1, decay="cosine").factor(5) == pytest.approx(0.5)


def test_every_group_keeps_its_share_of_the_rate() -> None:
    from tests.tasks.openmmlab.test_decay import Model

    schedule = Schedule(iterations=10, lr=2.0, layer_decay=0.5, weight_decay=0.1)
    optimiser = optimiser_of(schedule, Model("random:test_vit?depth=2"))
    assert {group["peak"] for group in optimiser.param_groups} == {2.0 * 0.5**k for k in range(4)}


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    """One step of plain SGD moves the weights by lr x clip at most, and by that much where the gradient is larger."""
    model = Toy().train()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    train(
        model,
        batches,
        Schedule(iterations=1, optimizer="sgd", momentum=0.0, lr=1.0, clip_norm=0.01),
        execution=CPU,
        key="a",
        seed=3,
    )
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"milestones": (5,)},
        {"decay": "step"},
        {"decay": "step", "milestones": (9, 5)},
        {"decay": "step", "milestones": (11,)},
    ],
)
def test_milestones_that_never_come_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match="rising milestones up to 10"):
        Schedule(iterations=10, lr=1.0, **wrong)
