"""The training loop of dense heads: plain, resumable, with mixed precision and clipped gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from benchmark.backbones.execution import Execution
from benchmark.errors import ResultError
from tasks.openmmlab.decay import optimiser_of
from tasks.openmmlab.schedule import Schedule
from tasks.openmmlab.snapshot import Training, restore, save

Batch = Mapping[str, Any]
"""What mmdet's and mmseg's data preprocessors take: `inputs`, a list of (3, H, W), and `data_samples`."""

_STEP = 1_000_003  # more than any training has iterations: no two seeds meet


def train(
    model: nn.Module,
    batches: Callable[[int], Iterator[Batch]],
    schedule: Schedule,
    *,
    execution: Execution,
    key: str,
    seed: int,
    snapshot: Path | None = None,
    every: int = 1000,
    window: int = 50,
    progress: Callable[[int, float], None] | None = None,
) -> list[tuple[int, float]]:
    """Trains an mmdet or mmseg model in place, on the device it is on.

    Stopped at any moment and called again with the same arguments it goes on from the last snapshot, and ends with what
    it would have ended with: every iteration starts all random generators from the seed and its own number.

    Args:
        model: from `build_model`.
        batches: iteration -> the batches from that one on, without end; drawn from the iteration's number, so that a
            resumed training sees what it would have seen.
        schedule: the protocol's.
        execution: its precision; `bf16` and `fp16` are autocast, `fp16` with loss scaling.
        key: what is trained on what; a snapshot of another key or seed is refused.
        seed: of what the heads draw (dropout, samples of regions).
        snapshot: the file of the state; None keeps none.
        every: iterations between snapshots; the last one is always kept.
        window: iterations per point of the curve, and between looks at the loss, each of which waits for the device.
        progress: called with (iterations done, mean loss) at every point of the curve.

    Returns:
        The loss curve: (iterations done, mean loss since the point before).

    Raises:
        ResultError: a loss that is not finite, a snapshot of another training, or batches that end.
    """
    device = next(model.parameters()).device
    scaler = torch.amp.GradScaler(device.type, enabled=execution.precision == "fp16")
    state = Training(model, optimiser_of(schedule, model), scaler, 0, [])
    if snapshot is not None:
        restore(snapshot, state, f"{key}, seed {seed}")
    trained = [parameter for group in state.optimiser.param_groups for parameter in group["params"]]
    model.train()
    source = batches(state.iteration)
    total, counted = torch.zeros((), device=device), 0
    while state.iteration < schedule.iterations:
        batch = next(source, None)
        if batch is None:
            raise ResultError(
                f"{schedule.iterations} batches", f"{state.iteration}, then none", "let the batches have no end"
            )
        for group in state.optimiser.param_groups:
            group["lr"] = group["peak"] * schedule.factor(state.iteration)
        set_random_seed((seed * _STEP + state.iteration) % 2**32)
        with execution.products():
            with execution.autocast():
                loss = loss_of(model, batch)
            state.optimiser.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
        if schedule.clip_norm is not None:
            scaler.unscale_(state.optimiser)
            torch.nn.utils.clip_grad_norm_(trained, schedule.clip_norm)
        scaler.step(state.optimiser)
        scaler.update()
        state.iteration += 1
        total += loss.detach()
        counted += 1
        last = state.iteration == schedule.iterations
        keep = snapshot is not None and (last or state.iteration % every == 0)
        if last or keep or state.iteration % window == 0:
            _point(state, total, counted, progress)
            total, counted = torch.zeros((), device=device), 0
        if keep and snapshot is not None:
            save(snapshot, state, f"{key}, seed {seed}")
    return state.curve


def loss_of(model: Any, batch: Batch) -> Tensor:
    """The sum of the losses that the heads name."""
    data = model.data_preprocessor(dict(batch), True)
    losses = model.loss(data["inputs"], data["data_samples"])
    whole: Tensor = model.parse_losses(losses)[0]
    return whole


def _point(state: Training, total: Tensor, counted: int, progress: Callable[[int, float], None] | None) -> None:
    """Adds the mean loss to the curve.

    Raises:
        ResultError: it is not finite: no weights after that are of any use.
    """
    mean = total.item() / counted
    state.curve.append((state.iteration, mean))
    if mean != mean or mean in (float("inf"), float("-inf")):
        raise ResultError(
            "a finite loss",
            f"{mean} within the {counted} iterations before {state.iteration}",
            "lower the learning rate, warm up longer, clip gradients, or use precision fp32",
        )
    if progress is not None:
        progress(state.iteration, mean)
