"""Tasks by name, from the entry-point group `transferbench.tasks`, and protocols with a user's overrides."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import yaml
from pydantic import ValidationError

from benchmark.errors import SuiteError, nearest
from benchmark.protocol import ProtocolSettings
from benchmark.task import Task

GROUP = "transferbench.tasks"


@cache
def task_names() -> tuple[str, ...]:
    """Names of the installed tasks."""
    return tuple(sorted(point.name for point in entry_points(group=GROUP)))


@cache
def load_task(name: str) -> Task:
    """The task of that name.

    Raises:
        SuiteError: no such task; or its package does not keep the contract.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if not points:
        raise SuiteError("installed tasks", "none registered", "install the project: pip install -e .")
    if name not in points:
        raise SuiteError("a task", repr(name), nearest(name, points))
    loaded = points[name].load()
    if not (isinstance(loaded, type) and issubclass(loaded, Task)):
        raise SuiteError(f"a Task class behind {name!r}", points[name].value, "mend the package that registers it")
    return loaded()


def load_protocol(task: Task, name: str | None, settings: Mapping[str, Any]) -> ProtocolSettings:
    """A task's protocol (its default without a name), with overrides.

    An override makes another protocol, so it goes into the name (`knn/dino+temperature=0.1`): such a result is never
    ranked with those of the protocol proper.

    Raises:
        SuiteError: unknown protocol or setting, or a value of the wrong type.
    """
    if name is not None and name not in task.protocols:
        raise SuiteError(f"a protocol of {task.name}", repr(name), nearest(name, task.protocols))
    base = task.protocols[name] if name is not None else next(iter(task.protocols.values()))
    fixed = {"name", "version", "summary", "paper"}
    known = set(type(base).model_fields) - fixed
    for key in settings:
        if key not in known:
            raise SuiteError(f"a setting of {base.name}", f"{task.name}.{key}", nearest(key, known))
    try:
        changed = type(base).model_validate({**base.model_dump(), **settings})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise SuiteError(f"a valid value for {task.name}.{where}", problem["msg"], "mend --set or the suite") from error
    differs = {key: getattr(changed, key) for key in settings if getattr(changed, key) != getattr(base, key)}
    if not differs:
        return base
    suffix = "+".join(f"{key}={_plain(value)}" for key, value in sorted(differs.items()))
    return changed.model_copy(update={"name": f"{base.name}+{suffix}"})


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def parse_settings(items: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """`task.key=value` items as task -> key -> value; values are read as YAML (`[1, 2]`, `0.1`, `true`).

    Raises:
        SuiteError: not of that form.
    """
    parsed: dict[str, dict[str, Any]] = {}
    for item in items:
        left, equals, value = item.partition("=")
        task, dot, key = left.partition(".")
        if not (equals and dot and task and key):
            raise SuiteError("--set task.key=value", repr(item), "for example --set knn.temperature=0.1")
        try:
            parsed.setdefault(task, {})[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SuiteError("a value in YAML", repr(item), "quote it") from error
    return parsed
