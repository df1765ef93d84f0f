"""The training loop that all methods share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.demo.methods import Method, normalise
from benchmark.demo.pool import Pool

WARM_UP = 0.05  # share of the steps
SETTLE = 2000  # images behind the final statistics of BatchNorm


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a method learns.

    Attributes:
        steps: updates.
        batch: images per update.
        rate: AdamW's highest learning rate; it rises over the first `WARM_UP` and falls along half a cosine.
        decay: AdamW's weight decay.
    """

    steps: int
    batch: int = 128
    rate: float = 3e-3
    decay: float = 0.05


def fit(
    method: Method, pool: Pool, recipe: Recipe, seed: int, report: Callable[[float], object] = lambda loss: None
) -> Tensor:
    """Trains a method in place and leaves it in evaluation mode.

    Args:
        method: with fresh weights.
        pool: what it sees; every image once per epoch, in another order each time.
        recipe: steps, batch and rates.
        seed: of the order and the augmentation.
        report: called with the loss of every step.

    Returns:
        (steps,) losses.
    """
    draws = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(method.parameters(), recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / recipe.steps))
    images, labels = torch.from_numpy(pool.images), torch.from_numpy(pool.labels)
    order = torch.empty(0, dtype=torch.int64)
    losses = []
    method.train()
    for _ in range(recipe.steps):
        while len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(len(pool), generator=draws)])
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        loss = method.loss(images[chosen] / 255, labels[chosen], draws)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        report(losses[-1])
    settle(method.encoder, images[torch.randperm(len(images), generator=draws)[:SETTLE]])
    method.eval()
    return torch.tensor(losses)


def _rate(progress: float) -> float:
    """Share of the highest learning rate after a share of the steps."""
    return min(progress / WARM_UP + 0.01, 0.5 * (1 + math.cos(math.pi * progress)))


def settle(encoder: nn.Module, images: Tensor, batch: int = 200) -> None:
    """Sets the running statistics of BatchNorm to plain averages over clean images ("precise BN", Wu & Johnson 2021).

    In training they follow augmented and masked images, which is not what an evaluation shows.

    Args:
        encoder: changed in place.
        images: (N, 3, H, W) uint8.
        batch: images per forward pass.
    """
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    encoder.train()
    with torch.inference_mode():
        for part in images.split(batch):
            encoder(normalise(part / 255))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
