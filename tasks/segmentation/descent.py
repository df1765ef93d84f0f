"""Gradient descent of a head: AdamW with a warm-up, resumable, and the loss curve that it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark.errors import ResultError
from benchmark.protocol import ProtocolSettings
from tasks.openmmlab.snapshot import Training, restore, save

_POINTS = 100  # of the loss curve
_SEEDS = 1_000_003  # more than any training has iterations: no two seeds meet


class DescentSettings(ProtocolSettings):
    """How a head is trained.

    Attributes:
        iterations: steps of AdamW.
        batch: images per step.
        lr, weight_decay: of AdamW.
        warmup: share of the iterations in which the rate rises linearly from `warmup_from` of its value.
        warmup_from: see `warmup`.
        decay: over all iterations the rate falls to 0, in a line (`linear`: poly of power 1) or half a `cosine`.
    """

    iterations: int = Field(gt=0)
    batch: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 1500 / 40_000
    warmup_from: float = 1e-6
    decay: Literal["linear", "cosine"] = "linear"


def rate(step: int, protocol: DescentSettings) -> float:
    """The share of the learning rate at a step (mmcv's poly policy with power 1 and linear warm-up)."""
    done = step / protocol.iterations
    share = 1 - done if protocol.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    warmup = protocol.warmup * protocol.iterations
    if step < warmup:
        share *= 1 - (1 - step / warmup) * (1 - protocol.warmup_from)
    return share


def descend(
    head: nn.Module,
    losses: Callable[[int], Iterator[Tensor]],
    protocol: DescentSettings,
    seed: int,
    progress: Callable[[int, int, str], None],
    snapshot: Path | None = None,
    key: str = "",
) -> dict[str, list[Any]]:
    """Trains a head in place and leaves it in evaluation mode.

    Stopped at any moment and called again with the same arguments it goes on from the last snapshot, and ends with what
    it would have ended with.

    Args:
        head: what is trained.
        losses: step -> the losses of the steps from that one on, without end; each is computed when it is asked for.
        protocol: the schedule.
        seed: of what the head draws; every step starts torch's generators from it and its own number.
        progress: called after every step.
        snapshot: the file of the state; None keeps none.
        key: what is trained on what; a snapshot of another key or seed is refused.

    Returns:
        The loss curve: `step`, and the mean `loss` since the step before.

    Raises:
        ResultError: a loss that is not finite, or a snapshot of another training.
    """
    device = next(head.parameters()).device
    optimiser = torch.optim.AdamW(head.parameters(), protocol.lr, weight_decay=protocol.weight_decay)
    state = Training(head, optimiser, torch.amp.GradScaler(device.type, enabled=False), 0, [])
    key = f"{key}, seed {seed}"
    if snapshot is not None:
        restore(snapshot, state, key)
    window = math.ceil(protocol.iterations / _POINTS)
    every = window * max(1, min(1000, max(50, protocol.iterations // 20)) // window)
    head.train()
    source = losses(state.iteration)
    total = torch.zeros((), device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        while state.iteration < protocol.iterations:
            for group in optimiser.param_groups:
                group["lr"] = protocol.lr * rate(state.iteration, protocol)
            torch.manual_seed((seed * _SEEDS + state.iteration) % 2**63)
            loss = next(source)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            state.iteration += 1
            total += loss.detach()
            last = state.iteration == protocol.iterations
            if last or state.iteration % window == 0:
                before = state.curve[-1][0] if state.curve else 0
                state.curve.append(
                    (state.iteration, _finite(total.item() / (state.iteration - before), state.iteration))
                )
                total.zero_()
            if snapshot is not None and (last or state.iteration % every == 0):
                save(snapshot, state, key)
            progress(state.iteration, protocol.iterations, "steps")
    head.eval()
    return {"step": [step for step, _ in state.curve], "loss": [round(loss, 5) for _, loss in state.curve]}


def _finite(loss: float, step: int) -> float:
    """The loss.

    Raises:
        ResultError: it is not finite: no weights after that are of any use.
    """
    if not math.isfinite(loss):
        raise ResultError("a finite loss", f"{loss} before step {step}", "lower the learning rate, or warm up longer")
    return loss
