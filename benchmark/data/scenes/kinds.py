"""Object kinds: a shape with a texture, in two families that share no kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.data.scenes.shapes import SHAPES
from benchmark.data.scenes.textures import TEXTURES

Family = Literal["a", "b"]
MAX_KINDS = len(SHAPES) * len(TEXTURES) // 2


@dataclass(frozen=True)
class Kind:
    """What an object is: its outline and its surface; its colours, size, pose and light are free."""

    shape: str
    texture: str

    @property
    def name(self) -> str:
        """As shown to people and used as class name (`striped-disc`)."""
        return f"{self.texture}-{self.shape}"


def kinds(family: Family, count: int) -> tuple[Kind, ...]:
    """The first `count` kinds of a family (at most `MAX_KINDS`).

    Shape i and texture j make a kind of family `a` where i + j is even and of `b` where it is odd: the families share
    parts but no kind, and what is learned on one can transfer to the other. Kinds come in blocks of five shapes times
    two
    or more textures: from ten kinds on, knowing the shape alone or the texture alone is worth at most half of them.
    """
    shapes, textures, odd = list(SHAPES), list(TEXTURES), 0 if family == "a" else 1
    rounds = len(textures) // 2
    order: list[Kind] = []
    for start in range(0, len(shapes), 5):
        for step in range(rounds):
            for i in range(start, min(start + 5, len(shapes))):
                order.append(Kind(shapes[i], textures[(i + odd) % 2 + 2 * step]))
    return tuple(order[:count])
