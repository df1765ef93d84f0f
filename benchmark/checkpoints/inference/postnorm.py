"""data2vec 2.0's transformers: norms behind the sums, which no shape says."""

from __future__ import annotations

import math

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

FACTORY = "python:benchmark.backbones.vit_networks:post_norm_vit"


def infer_postnorm(query: Query) -> Inferred | None:
    """The architecture of a data2vec 2.0 transformer, or None where the layout is no such one.

    Raises:
        CheckpointError: positions over no square grid, a width whose heads the layout does not know, a block missing.
    """
    shapes = query.shapes
    if query.facts.arch != FACTORY:
        return None
    kernel, places = shapes.get("patch_embed.proj.weight", ()), shapes.get("pos_embed", ())
    side = math.isqrt(places[1]) if len(places) == 3 else 0
    if len(kernel) != 4 or not side or side * side != places[1]:
        found = f"{places[1] if len(places) == 3 else 'no'} positions"
        raise CheckpointError("positions of a square grid of patches", found, "take a complete file")
    width, patch = kernel[0], kernel[2]
    if width not in query.facts.heads:
        known = ", ".join(map(str, query.facts.heads))
        raise CheckpointError(f"a width among {known}", str(width), "give --arch with embed_dim and num_heads")
    native = side * patch
    size = query.size or (native, native)
    if size[0] != size[1]:
        raise CheckpointError("square images", f"{size[0]} x {size[1]}", "give --preprocess size=N")
    options = {
        "img_size": size[0],
        "patch_size": patch,
        "embed_dim": width,
        "depth": query.count("blocks."),
        "num_heads": query.facts.heads[width],
        "pooled_norm": True if "fc_norm.weight" in shapes else None,
    }
    return Inferred(spelled(FACTORY, {**options, **query.facts.options}), (), (native, native))
