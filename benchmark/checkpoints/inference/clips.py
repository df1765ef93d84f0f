"""V-JEPA's transformers for video, their patch embedding summed over equal frames."""

from __future__ import annotations

import math

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

FACTORY = "python:benchmark.backbones.vit_networks:still_clip"
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}  # of the published widths


def _asked(query: Query, patch: int) -> int:
    """The side of the images asked for; 0 where none was.

    Raises:
        CheckpointError: no square of whole patches.
    """
    if query.size is None:
        return 0
    high, wide = query.size
    if high != wide or high % patch:
        raise CheckpointError(f"a square of whole {patch} x {patch} patches", f"{high} x {wide}", "choose another size")
    return high


def infer_clips(query: Query) -> Inferred | None:
    """The architecture of a V-JEPA transformer, or None where the layout is no such one.

    Raises:
        CheckpointError: positions over no square grid, a width that is not published, a block missing.
    """
    shapes = query.shapes
    if query.facts.arch != FACTORY:
        return None
    kernel, places = shapes.get("patch_embed.proj.weight", ()), shapes.get("pos_embed", ())
    inner = shapes.get("blocks.0.mlp.fc1.weight", ())
    steps = int(query.facts.options.get("steps", 1))
    side = math.isqrt(places[1] // steps) if len(places) == 3 else 0
    if len(kernel) != 4 or len(inner) != 2 or not side or steps * side * side != places[1]:
        found = f"{places[1] if len(places) == 3 else 'no'} positions"
        raise CheckpointError(f"positions of {steps} square grids", found, "give --arch with img_size and steps")
    heads = query.facts.heads.get(kernel[0], _HEADS.get(kernel[0], 0))
    if not heads:
        raise CheckpointError(f"a width among {', '.join(map(str, _HEADS))}", str(kernel[0]), "give --arch")
    options = {
        "img_size": _asked(query, kernel[2]) or side * kernel[2],
        "patch_size": kernel[2],
        "embed_dim": kernel[0],
        "depth": query.count("blocks."),
        "num_heads": heads,
        "hidden": inner[0],
    }
    return Inferred(spelled(FACTORY, {**options, **query.facts.options}), (), (side * kernel[2], side * kernel[2]))
