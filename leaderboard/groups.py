"""Apples to apples: models that share an architecture, the data they were pre-trained on, or the length of training."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.errors import RequestError, nearest
from benchmark.results.schema import ModelRecord
from leaderboard.tables import Entry

FACTS = ("architecture", "pretraining_data", "epochs", "method")
UNSAID = "not said"


def architecture_of(arch: str) -> str:
    """The network itself: without the arguments it was built with and the tag of its published weights."""
    network = arch.partition("?")[0]
    return network if network.startswith("python:") else network.partition(".")[0]


def fact_of(model: ModelRecord, fact: str) -> str:
    """What a model is in one respect, `not said` where neither its file nor its card says.

    Args:
        model: the model.
        fact: one of `FACTS`, or a name that a card's `groups` has.
    """
    if fact == "architecture":
        return architecture_of(model.arch)
    value = getattr(model, fact) if fact in FACTS else model.groups.get(fact)
    return UNSAID if value is None else str(value)


def facts_of(entries: Sequence[Entry]) -> list[str]:
    """Every fact that models can be grouped by."""
    own = {name for entry in entries for name in entry.result.model.groups}
    return [*FACTS, *sorted(own)]


def grouped(entries: Sequence[Entry], facts: Sequence[str]) -> dict[tuple[str, ...], list[Entry]]:
    """The results of models that share all of the facts, largest group first; `not said` comes last.

    Raises:
        RequestError: no model has such a fact.
    """
    known = facts_of(entries)
    for fact in facts:
        if fact not in known:
            raise RequestError("a fact that models can be grouped by", repr(fact), nearest(fact, known))
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(tuple(fact_of(entry.result.model, fact) for fact in facts), []).append(entry)

    def order(key: tuple[str, ...]) -> tuple[bool, int, tuple[str, ...]]:
        models = {entry.result.model.name for entry in groups[key]}
        return UNSAID in key, -len(models), key

    return {key: groups[key] for key in sorted(groups, key=order)}
