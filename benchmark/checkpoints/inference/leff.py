"""PyramidCLIP's transformers, whose first blocks have convolutions over the patches in their MLP."""

from __future__ import annotations

import math

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

FACTORY = "python:benchmark.backbones.clip_networks:leff_vit"
_HEAD_WIDTH = 64  # models/models.py, MODEL
_DEPTH, _LOCAL = 12, 9  # models/model_config.yml; models/models.py, Transformer


def infer_leff(query: Query) -> Inferred | None:
    """The architecture of such a transformer, or None where these are no such tensors.

    Raises:
        CheckpointError: positions over no square grid, a block missing.
    """
    shapes = query.shapes
    kernel, places = shapes.get("patch_embed.proj.weight", ()), shapes.get("pos_embed", ())
    if "blocks.0.mlp.depConv.depconv.weight" not in shapes or len(kernel) != 4 or len(places) != 3:
        return None
    depth = query.count("blocks.")
    local = sum(f"blocks.{index}.mlp.linear1.weight" in shapes for index in range(depth))
    if (depth, local) != (_DEPTH, _LOCAL):
        raise CheckpointError(
            f"{_DEPTH} blocks, {_LOCAL} of them with convolutions", f"{depth} and {local}", "take a complete file"
        )
    side = math.isqrt(places[1] - 1)
    if side * side != places[1] - 1:
        raise CheckpointError("positions over a square grid", f"{places[1]} positions", "take a complete file")
    native = (side * kernel[2], side * kernel[2])
    size = query.size or native
    options = {
        "img_size": size[0] if size[0] == size[1] else size,
        "patch_size": kernel[2],
        "embed_dim": kernel[0],
        "depth": depth,
        "num_heads": kernel[0] // _HEAD_WIDTH,
        "local": local,
    }
    return Inferred(spelled(FACTORY, options), (), native)
