"""A suite: tasks x datasets under chosen protocols."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from benchmark.errors import SuiteError, nearest
from benchmark.suites.document import parse, read_yaml


class SuiteTask(BaseModel):
    """One line of a suite.

    Attributes:
        task: a task's name.
        protocol: one of its protocols; None takes the task's default.
        datasets: names of the datasets it runs on; None means all of the suite.
        settings: overrides of the protocol's settings; they become part of the protocol's name in the results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    protocol: str | None = None
    datasets: tuple[str, ...] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class Suite(BaseModel):
    """A fixed battery. `datasets` maps names to sources; `--data` replaces them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = 1
    summary: str = ""
    seeds: tuple[int, ...] = (0,)
    datasets: dict[str, str] = Field(default_factory=dict)
    tasks: tuple[SuiteTask, ...] = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
            raise ValueError("seeds are distinct and not negative")
        return seeds


def shipped_suites() -> dict[str, Path]:
    """Names and files of the suites that come with the project."""
    folder = resources.files("benchmark.suites") / "definitions"
    return {Path(str(entry)).stem: Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".yaml")}


def load_suite(name: str) -> Suite:
    """A shipped suite by its name, or a user's by the path of its YAML file.

    Raises:
        SuiteError: neither; or the file has unknown keys or wrong values.
    """
    shipped = shipped_suites()
    path = Path(name)
    if name in shipped:
        path = shipped[name]
    elif not path.is_file():
        if path.suffix in {".yaml", ".yml"}:
            raise SuiteError("a suite file", f"{name} (no such file)", "check the path")
        raise SuiteError("a suite", repr(name), nearest(name, shipped) + " A path to a YAML file works too.")
    suite = parse(Suite, read_yaml(path), str(path))
    for entry in suite.tasks:
        for dataset in entry.datasets or ():
            if dataset not in suite.datasets:
                raise SuiteError(
                    "a dataset of the suite", f"{path}: {entry.task}: {dataset}", nearest(dataset, suite.datasets)
                )
    return suite
