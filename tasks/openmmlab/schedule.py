"""How a dense head is trained: optimiser and rates over the iterations. Part of a protocol, typed when read."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmark.errors import SuiteError

Spare = Literal["vectors", "norms", "nothing"]
"""What has no weight decay: see `decay.parameter_groups`."""


class Schedule(BaseModel):
    """The settings of a training.

    The rate at iteration i of T is lr x warm-up x decay. The warm-up rises linearly from `warmup_start` at iteration 0
    to 1 at iteration `warmup`, and multiplies the decay, which counts from 0 (detectron2's WarmupParamScheduler and
    mmcv's linear warm-up).

    Attributes:
        iterations: T.
        optimizer: `sgd` with `momentum`, or `adamw` with `betas`.
        lr: of the heads, at its highest.
        weight_decay: of all but what `spare` names.
        encoder_rate, layer_decay, spare: see `decay.parameter_groups`.
        decay: `step` multiplies by `gamma` at each of `milestones`; `poly` is (1 - i / T)^power; `cosine` is half a
            period; `constant`.
        floor: the rate of `poly` and `cosine` ends at this share of the highest.
        warmup, warmup_start: iterations, and the factor at the first of them.
        clip_norm: gradients are scaled down to this norm over all parameters; None leaves them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(gt=0)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    encoder_rate: float = Field(default=1.0, gt=0, le=1)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    spare: Spare = "vectors"
    decay: Literal["step", "poly", "cosine", "constant"] = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    power: float = 1.0
    floor: float = Field(default=0.0, ge=0, lt=1)
    warmup: int = Field(default=0, ge=0)
    warmup_start: float = Field(default=1e-3, ge=0, le=1)
    clip_norm: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _sane(self) -> Schedule:
        """Refuses a decay that would never happen, or happen after the end."""
        marks = self.milestones
        if (
            (self.decay == "step") != bool(marks)
            or list(marks) != sorted(set(marks))
            or max(marks, default=0) > (self.iterations)
        ):
            raise SuiteError(
                f"rising milestones up to {self.iterations} for decay=step, and none for another",
                f"decay={self.decay} milestones={marks}",
                "correct one of them",
            )
        return self

    def factor(self, iteration: int) -> float:
        """What the rates are multiplied by at an iteration, counted from 0."""
        done = iteration / self.iterations
        decay = {
            "step": self.gamma ** bisect_right(self.milestones, iteration),
            "poly": self.floor + (1 - self.floor) * (1 - done) ** self.power,
            "cosine": self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done)),
            "constant": 1.0,
        }[self.decay]
        if iteration >= self.warmup:
            return decay
        risen = iteration / self.warmup
        return decay * (self.warmup_start * (1 - risen) + risen)
