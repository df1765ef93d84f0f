"""The state of a training on disk: written whole or not at all, read without running anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.errors import ResultError
from benchmark.files import write_atomically


@dataclass
class Training:
    """What changes while a model is trained.

    Attributes:
        model, optimiser, scaler: with their states.
        iteration: done so far.
        curve: (iteration, mean loss since the point before).
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    iteration: int
    curve: list[tuple[int, float]]


def save(path: Path, training: Training, key: str) -> None:
    """Writes the state.

    Args:
        path: the file.
        training: the state.
        key: what the training is: settings, data, encoder.
    """
    state = {
        "key": key,
        "model": training.model.state_dict(),
        "optimiser": training.optimiser.state_dict(),
        "scaler": training.scaler.state_dict(),
        "iteration": training.iteration,
        "curve": training.curve,
    }
    write_atomically(path, lambda stream: torch.save(state, stream))


def restore(path: Path, training: Training, key: str) -> bool:
    """Takes the state from the file; False where there is none.

    Raises:
        ResultError: the file is of another training, or damaged.
    """
    if not path.exists():
        return False
    device = next(training.model.parameters()).device
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ResultError(
            "the state of a training", f"{path}: {type(error).__name__}: {str(error)[:120]}", "delete the file"
        ) from error
    if state["key"] != key:
        raise ResultError(f"the training {key}", f"{state['key']} in {path}", "delete the file, or use another folder")
    training.model.load_state_dict(state["model"])
    training.optimiser.load_state_dict(state["optimiser"])
    training.scaler.load_state_dict(state["scaler"])
    training.iteration = state["iteration"]
    training.curve[:] = [(int(iteration), float(loss)) for iteration, loss in state["curve"]]
    return True
