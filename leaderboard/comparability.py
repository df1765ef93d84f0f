"""The one function that decides whether two results may be ranked together. Everything asks it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.results.schema import Result


@dataclass(frozen=True)
class Conflict:
    """A field in which two results differ that may not differ."""

    field: str
    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.field}: {self.left} vs {self.right}"


def conflicts(left: Result, right: Result) -> list[Conflict]:
    """Why two results must not be ranked together; empty when they may be.

    They must agree in the task and its version, the protocol (its name carries every override) and its version, the
    scorer, the dataset's name and fingerprint, the reported split, the images left out, and how hyper-parameters were
    selected. Seeds may differ: they are pooled or paired by who asks.
    """
    pairs = {
        "task": (left.task, right.task),
        "task version": (left.task_version, right.task_version),
        "protocol": (left.protocol.name, right.protocol.name),
        "protocol version": (left.protocol.version, right.protocol.version),
        "scorer": (f"{left.scorer.name} {left.scorer.version}", f"{right.scorer.name} {right.scorer.version}"),
        "dataset": (left.data.name, right.data.name),
        "data fingerprint": (left.data.fingerprint, right.data.fingerprint),
        "split": (left.data.reported_split, right.data.reported_split),
        "selection": (left.selection.how, right.selection.how),
        "images left out": (_skipped(left), _skipped(right)),
    }
    return [Conflict(field, str(a), str(b)) for field, (a, b) in pairs.items() if a != b]


def comparable(left: Result, right: Result) -> bool:
    """Whether two results may be ranked together."""
    return not conflicts(left, right)


def _skipped(result: Result) -> str:
    if not result.data.skipped:
        return "none"
    return "; ".join(f"{split}: {', '.join(sorted(ids))}" for split, ids in sorted(result.data.skipped.items()))
