"""Statistics of BatchNorm computed anew after a training, as detectron2's TEST.PRECISE_BN does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tasks.openmmlab.train import Batch, loss_of


@torch.no_grad()
def recompute_statistics(
    model: nn.Module, batches: Iterable[Batch], progress: Callable[[int], None] = lambda done: None
) -> None:
    """Sets the statistics of every trained BatchNorm to the mean over batches (fvcore, nn/precise_bn.py).

    A running mean weighs the last dozen batches only, and weights changed while it ran. Frozen layers, which are in
    evaluation mode, keep theirs.

    Args:
        model: in place; in training mode afterwards.
        batches: how many there are decides how many are averaged.
        progress: called with the number of batches done.
    """
    model.train()
    norms: list[Any] = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then keeps the plain mean of all batches
    for done, batch in enumerate(batches):
        loss_of(model, batch)
        progress(done + 1)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
