"""What a user's `--set` makes of the lines of a suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.errors import SuiteError, nearest
from benchmark.runner.registry import load_protocol, load_task
from benchmark.suites.suite import Suite, SuiteTask


def overridden(suite: Suite, overrides: Mapping[str, Mapping[str, Any]]) -> list[SuiteTask]:
    """The lines of a suite with a user's settings in place of their own.

    Where a task is there under several protocols, `task.protocol` takes the place of them all, and any other setting
    goes to those that have it.

    Args:
        suite: the suite.
        overrides: task -> setting -> value.

    Raises:
        SuiteError: none of several protocols has a setting.
    """
    lines = []
    for line in suite.tasks:
        values = dict(overrides.get(line.task, {}))
        several = [other for other in suite.tasks if other.task == line.task]
        chosen = line
        if len(several) > 1 and "protocol" in values:
            if line is not several[0]:
                continue
            same = (other for other in several if other.protocol == values["protocol"])
            chosen = next(same, SuiteTask(task=line.task))
        elif len(several) > 1:
            every = {key for other in several for key in _settings_of(other)}
            for key in values:
                if key not in every:
                    raise SuiteError(
                        f"a setting of {line.task} in suite {suite.name}", f"{line.task}.{key}", nearest(key, every)
                    )
            values = {key: value for key, value in values.items() if key in _settings_of(line)}
        changes = {"protocol": values.pop("protocol", chosen.protocol), "settings": {**chosen.settings, **values}}
        lines.append(chosen.model_copy(update=changes))
    return lines


def _settings_of(line: SuiteTask) -> frozenset[str]:
    """Names of what can be set in its protocol."""
    protocol = load_protocol(load_task(line.task), line.protocol, {})
    return frozenset(type(protocol).model_fields) - {"name", "version", "summary", "paper"}
