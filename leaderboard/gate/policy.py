"""What a release may lose: margins, and what each verdict means for the exit code, per task."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import RequestError
from benchmark.suites.document import parse, read_yaml

Action = Literal["fail", "warn", "ignore"]
MARGIN = 0.5  # points
ALPHA = 0.05


class TaskPolicy(BaseModel):
    """The rule for one task; what is not given is the policy's own.

    Attributes:
        margin: the loss, in the unit of the headline, that is accepted.
        action: what a regression of this task does: `fail` the check, `warn`, or `ignore` the task.
        min_n: samples below which no verdict is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float | None = Field(default=None, ge=0)
    action: Action = "fail"
    min_n: int = Field(default=1, ge=1)


class Policy(BaseModel):
    """What a release may lose.

    Attributes:
        margin: the accepted loss, in the unit of the headline (points of a percentage).
        alpha: chance of a false alarm over all cells together.
        tasks: rules by task.
        required: cells (`dataset/task`) that have to be on both sides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(default=MARGIN, ge=0)
    alpha: float = Field(default=ALPHA, gt=0, lt=1)
    tasks: dict[str, TaskPolicy] = Field(default_factory=dict)
    required: tuple[str, ...] = ()

    def of(self, task: str) -> TaskPolicy:
        """The rule for a task, its margin filled in."""
        rule = self.tasks.get(task, TaskPolicy())
        return rule if rule.margin is not None else rule.model_copy(update={"margin": self.margin})


def load_policy(path: Path | None, margin: float | None = None, alpha: float | None = None) -> Policy:
    """The policy of a YAML file, or the default one; `margin` and `alpha` replace its own.

    Raises:
        SuiteError: unreadable, unknown keys or wrong values.
        RequestError: a margin or alpha that is none.
    """
    policy = Policy() if path is None else parse(Policy, read_yaml(path), str(path))
    changes = {name: value for name, value in (("margin", margin), ("alpha", alpha)) if value is not None}
    if changes.get("margin", 0.0) < 0 or not 0 < changes.get("alpha", ALPHA) < 1:
        found = ", ".join(f"--{name} {value}" for name, value in changes.items())
        raise RequestError("--margin of 0 or more points, --alpha between 0 and 1", found, "correct it")
    return policy.model_copy(update=changes)
