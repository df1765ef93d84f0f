"""Kinds of transfer, for reading and for averages that mean one thing: which family a task belongs to."""

from __future__ import annotations

from leaderboard.tables import Column

FAMILIES = {
    "knn": "frozen features",
    "nmc": "frozen features",
    "linear": "frozen features",
    "fewshot": "few labels",
    "lowshot": "few labels",
    "semi": "few labels",
    "finetune": "fine-tuning",
    "segmentation": "dense",
    "detection": "dense",
    "robustness": "robustness",
    "robust": "robustness",
}


def family_of(task: str) -> str:
    """The family of a task; a task of someone else's is a family of its own."""
    return FAMILIES.get(task, task)


def family_of_column(column: Column) -> str:
    """The family of a column's task; of a column in which everything failed, the column's own label."""
    for entries in column.cells.values():
        return family_of(entries[0].result.task)
    return column.label
