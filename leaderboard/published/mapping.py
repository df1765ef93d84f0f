"""Which of our protocols a published task means: `protocols.yaml`, typed and checked when read.

    published_map() -> Mapping                        the shipped file
    Mapping.resolve(row) -> Target | str              what a published row may stand beside, or why nothing

A key belongs to exactly one rule. In a key `*` stands for anything and `{name}` for a part that the rule uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import ResultError
from benchmark.suites.document import parse, read_yaml
from leaderboard.published.rows import PublishedRow

SHIPPED = Path(__file__).with_name("protocols.yaml")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetFacts(_Section):
    """What a dataset is known to be, so that a sample of it under the same name is not taken for it.

    Attributes:
        splits: names that its reported split goes by.
        classes, train, reported: numbers of classes and of images; None where users' copies rightly differ.
    """

    splits: tuple[str, ...] = Field(min_length=1)
    classes: int | None = None
    train: int | None = None
    reported: int | None = None


class Rule(_Section):
    """Published tasks that a protocol of ours repeats.

    Attributes:
        keys: published tasks.
        protocol, version: ours.
        paper: whether the published recipe selects on the reported split.
        metrics: published metric -> ours.
        selection: how our results say they selected; None where it is the protocol's only way.
        representation: what the published figure was computed on, where that is not the checkpoint's default.
        preprocessing: fields that the measured preprocessing must have (crop_pct: after what the protocol pins).
        tolerance: points by which a faithful repetition may differ, for reasons that `why` names.
        spread: metric (ours) -> published standard deviation between runs of the recipe on the same weights.
        trials: source -> over how many runs its figures are means; 1 elsewhere.
        only: the column of a row -> values that this rule holds for; `otherwise` says why not for others.
        why: reason of the tolerance.
    """

    keys: tuple[str, ...] = Field(min_length=1)
    protocol: str
    version: int = 1
    paper: bool = False
    metrics: dict[str, str] = Field(min_length=1)
    selection: str | None = None
    representation: str | None = None
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    tolerance: float = Field(ge=0)
    spread: dict[str, float] = Field(default_factory=dict)
    trials: dict[str, int] = Field(default_factory=dict)
    only: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    otherwise: str = ""
    why: str = Field(min_length=1)


class Exclusion(_Section):
    """Published tasks that nothing of ours repeats.

    Attributes:
        keys: published tasks.
        why: the reason, as a table shows it.
    """

    keys: tuple[str, ...] = Field(min_length=1)
    why: str = Field(min_length=1)


@dataclass(frozen=True)
class Target:
    """What a measured result must be to stand beside a published row (fields as in `Rule` and `DatasetFacts`)."""

    dataset: str
    facts: DatasetFacts
    protocol: str
    version: int
    paper: bool
    metric: str
    selection: str | None
    representation: str | None
    preprocessing: Dictionary[str, str]
    tolerance: float
    spread: float
    trials: int


class Mapping(_Section):
    """The content of the file.

    Attributes:
        datasets: by the name that published tasks and `--data` give them.
        awaited: protocols that rules name and no task has yet.
        compared, excluded: what becomes of published tasks.
    """

    datasets: dict[str, DatasetFacts]
    awaited: tuple[str, ...] = ()
    compared: tuple[Rule, ...]
    excluded: tuple[Exclusion, ...]

    def resolve(self, row: PublishedRow) -> Target | str:
        """What the row may stand beside, or the reason why nothing may.

        Raises:
            ResultError: no rule has the row's task, or several have.
        """
        rule, parts = self.rule_of(row.task)
        if isinstance(rule, Exclusion):
            return rule.why
        for column, allowed in rule.only.items():
            if getattr(row, column) not in allowed:
                return rule.otherwise
        if row.metric not in rule.metrics:
            return f"{rule.protocol} has no such metric: {row.metric}"
        metric = rule.metrics[row.metric].format(**parts)
        return Target(
            dataset=row.dataset,
            facts=self.datasets[row.dataset],
            protocol=rule.protocol,
            version=rule.version,
            paper=rule.paper,
            metric=metric,
            selection=rule.selection,
            representation=rule.representation,
            preprocessing={name: str(value).format(**parts) for name, value in rule.preprocessing.items()},
            tolerance=rule.tolerance,
            spread=rule.spread.get(metric, 0.0),
            trials=rule.trials.get(row.source, 1),
        )

    def rule_of(self, task: str) -> tuple[Rule | Exclusion, dict[str, str]]:
        """The rule of a published task, and the parts of the task that the rule's key names.

        Raises:
            ResultError: there is none, or more than one.
        """
        rules: tuple[Rule | Exclusion, ...] = (*self.compared, *self.excluded)
        found = [
            (key, rule, match.groupdict())
            for rule in rules
            for key in rule.keys
            if (match := _pattern(key).fullmatch(task))
        ]
        if len(found) != 1:
            keys = ", ".join(key for key, _, _ in found) or "none"
            raise ResultError(
                f"one rule for the published task {task}", keys, "mend leaderboard/published/protocols.yaml"
            )
        return found[0][1], found[0][2]


@cache
def published_map() -> Mapping:
    """The shipped mapping."""
    return read_map(SHIPPED)


def read_map(path: Path) -> Mapping:
    """The mapping of a file.

    Raises:
        SuiteError: unreadable, unknown keys or wrong values.
        ResultError: a rule without what it refers to.
    """
    found = parse(Mapping, read_yaml(path), str(path))
    for rule in found.compared:
        where = f"{path.name}: {rule.keys[0]}"
        if bool(rule.only) != bool(rule.otherwise):
            raise ResultError("`only` and `otherwise` together", where, "say what becomes of the other rows")
        for column in rule.only:
            if column not in ("source", "arch"):
                raise ResultError("`only` by source or arch", f"{where}: {column}", "use one of these columns")
        for key in rule.keys:
            dataset = key.partition("/")[0]
            if dataset not in found.datasets:
                raise ResultError("facts about a compared dataset", f"{path.name}: {key}", f"add {dataset} to datasets")
    return found


@cache
def _pattern(key: str) -> re.Pattern[str]:
    """`imagenet-1k/knn-dino-k{k}` as an expression with a group `k`."""
    parts = re.split(r"(\*|\{\w+\})", key)
    return re.compile(
        "".join(".*" if p == "*" else f"(?P<{p[1:-1]}>[^/]+?)" if p.startswith("{") else re.escape(p) for p in parts)
    )
