"""What an encoder gives for a batch of images: named vectors and patch maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark.errors import BackboneError, nearest

Layers = int | Sequence[int]


@dataclass(frozen=True)
class Features:
    """Features of a batch, float32, on the encoder's device.

    Attributes:
        vectors: representation -> (B, D).
        maps: layer index (0 is the first) -> (B, D, h, w), class and register tokens removed.
        depth: the number of layers the backbone has (blocks of a transformer, stages of a hierarchical network).
    """

    vectors: Mapping[str, Tensor]
    maps: Mapping[int, Tensor]
    depth: int

    def __len__(self) -> int:
        return len(next(iter((*self.vectors.values(), *self.maps.values()))))

    def global_(self, name: str) -> Tensor:
        """The representation `name`, (B, D) float32.

        Raises:
            BackboneError: it was not computed, or is a map.
        """
        if name == "patch":
            raise BackboneError("a representation with one vector per image", "'patch', a map", "call grid()")
        if name not in self.vectors:
            raise BackboneError("a representation that was computed", repr(name), nearest(name, self.vectors))
        return self.vectors[name]

    def grids(self, layers: Layers = 1) -> tuple[Tensor, ...]:
        """Patch maps (B, D_i, h_i, w_i) of several layers, from the first to the last; sizes may differ (CNN stages).

        Args:
            layers: the last n layers, or indices (negative ones count from the end).

        Raises:
            BackboneError: a layer that `encode` was not asked to keep.
        """
        wanted = layer_indices(layers, self.depth)
        missing = [index for index in wanted if index not in self.maps]
        if missing:
            raise BackboneError(
                f"layers kept by encode ({sorted(self.maps) or 'none'})", f"layers {missing}", "pass layers= to encode"
            )
        return tuple(self.maps[index] for index in wanted)

    def grid(self, layers: Layers = 1) -> Tensor:
        """Patch maps of one layer (B, D, h, w), or of several of one size, concatenated over channels, first to last.

        Raises:
            BackboneError: a layer that was not kept, or layers of different sizes.
        """
        maps = self.grids(layers)
        sizes = sorted({(m.shape[-2], m.shape[-1]) for m in maps})
        if len(sizes) > 1:
            raise BackboneError("layers of one size", f"maps of {sizes}", "call grids(), or ask for one layer")
        return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)

    @staticmethod
    def cat(parts: Sequence[Features]) -> Features:
        """Parts of a batch as one."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return Features(
            {name: torch.cat([part.vectors[name] for part in parts]) for name in first.vectors},
            {index: torch.cat([part.maps[index] for part in parts]) for index in first.maps},
            first.depth,
        )


@dataclass
class Raw:
    """What a private hook returns: as `Features`, in whatever precision it was computed."""

    vectors: dict[str, Tensor] = field(default_factory=dict)
    maps: dict[int, Tensor] = field(default_factory=dict)


def layer_indices(layers: Layers, depth: int) -> tuple[int, ...]:
    """The last n layers or given indices, as sorted indices from 0.

    Raises:
        BackboneError: more layers than there are, or an index outside of them.
    """
    indices = range(depth - layers, depth) if isinstance(layers, int) else layers
    resolved = {index + depth if index < 0 and not isinstance(layers, int) else index for index in indices}
    if (isinstance(layers, int) and layers < 0) or any(not 0 <= index < depth for index in resolved):
        raise BackboneError(f"layers of a backbone that has {depth}", f"layers={layers}", "ask for fewer of them")
    return tuple(sorted(resolved))
