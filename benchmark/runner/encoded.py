"""What a group of cells shares: the images that they see of a dataset, and the stored features of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.data.dataset import Split
from benchmark.features.filling import Extraction
from benchmark.features.store import FeatureSet


@dataclass(frozen=True)
class Encoded:
    """The splits of a dataset as a group of cells sees them.

    Attributes:
        splits: by name.
        skipped: split -> ids of images that cannot be read and were left out.
        sets: split -> stored features; empty for tasks that read the images themselves.
        seconds, encoded: what encoding cost, and how many images it was.
    """

    splits: Mapping[str, Split]
    skipped: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, FeatureSet] = field(default_factory=dict)
    seconds: float = 0.0
    encoded: int = 0

    @classmethod
    def of(cls, splits: Mapping[str, Split], done: Mapping[str, Extraction]) -> Encoded:
        """From what was extracted of each split."""
        encoded = sum(each.encoded for each in done.values())
        return cls(
            splits=splits,
            skipped={
                name: tuple(splits[name].ids[position].as_py() for position in sorted(each.features.skipped))
                for name, each in done.items()
                if each.features.skipped
            },
            sets={name: each.features for name, each in done.items()},
            seconds=sum(each.seconds for each in done.values()) if encoded else 0.0,
            encoded=encoded,
        )

    def images(self, split: str) -> int:
        """How many images of a split are seen."""
        return len(self.sets[split].kept) if split in self.sets else len(self.splits[split])
