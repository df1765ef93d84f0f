"""What a run did."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmark.runner.cells import Cell


@dataclass
class Summary:
    """What a run did.

    Attributes:
        made, failed: cells that this run finished, and those of them that failed.
        elsewhere: cells that another living run held.
        stored_failed: cells that had failed before and were left alone.
        encoded: images that went through a backbone.
    """

    made: int = 0
    failed: list[Cell] = field(default_factory=list)
    elsewhere: int = 0
    stored_failed: list[Cell] = field(default_factory=list)
    encoded: int = 0
