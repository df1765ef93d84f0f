"""What can be asked of `scenes:`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from benchmark.data.options import Options
from benchmark.data.scenes.kinds import MAX_KINDS, Family


class SceneOptions(Options):
    """Options of `scenes:`.

    Attributes:
        classes: number of object kinds.
        train, val, test: images per split; `val` may be 0.
        size: side of the square images, in pixels.
        difficulty: 0 (one plain object on a calm ground) to 1 (clutter, occlusion, harsh light, faint textures).
        seed: another seed, another world.
        kinds: the family of object kinds; `a` and `b` share none.
        multilabel: targets say which kinds are visible instead of which is the subject.
    """

    classes: int = Field(10, ge=2, le=MAX_KINDS)
    train: int = Field(2000, ge=1)
    val: int = Field(0, ge=0)
    test: int = Field(1000, ge=1)
    size: int = Field(64, ge=32, le=2048)
    difficulty: float = Field(0.4, ge=0, le=1)
    seed: int = Field(0, ge=0)
    kinds: Family = "a"
    multilabel: bool = False

    @model_validator(mode="after")
    def _a_sample_per_class(self) -> SceneOptions:
        if min(self.train, self.test) < self.classes or 0 < self.val < self.classes:
            raise ValueError(f"every split needs at least one image per class ({self.classes})")
        return self

    def entropy(self, split: str, index: int) -> tuple[int, ...]:
        """What the random numbers of an image depend on.

        Neither the difficulty nor the size is part of it: turning either shows the same scenes under other conditions.
        """
        return (0x5CE4E5, self.seed, "ab".index(self.kinds), ("train", "val", "test").index(split), index)

    def key(self) -> dict[str, Any]:
        """The options on which a single image depends (the sizes of the splits are not among them)."""
        return self.model_dump(exclude={"train", "val", "test", "multilabel"})
