"""Transformers of one family each, in sizes that the family publishes: CroCo v2's and M2-Encoder's."""

from __future__ import annotations

import math

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

ROTARY = "python:benchmark.backbones.vit_networks:rotary_vit"  # CroCo v2's: no tensor holds positions
FUSION = "python:benchmark.backbones.clip_networks:beit3_fusion"
_SIZE = (224, 224)  # of the images that CroCo v2 was trained on
_DEPTHS = {768: 12, 1024: 24, 4096: 24}


def infer_family(query: Query) -> Inferred | None:
    """The architecture of such a transformer, or None where the layout is no such one.

    Raises:
        CheckpointError: a width that is not published, a block missing, positions over no square grid.
    """
    shapes, factory = query.shapes, query.facts.arch
    if factory not in (ROTARY, FUSION):
        return None
    kernel, inner = shapes.get("patch_embed.proj.weight", ()), shapes.get("blocks.0.mlp.fc1.weight", ())
    if len(kernel) != 4 or len(inner) != 2:
        raise CheckpointError("a patch embedding and blocks", f"{len(shapes)} other tensors", "take a complete file")
    heads, depth = query.facts.heads.get(kernel[0], 0), query.count("blocks.")
    if not heads or depth != _DEPTHS[kernel[0]]:
        known = ", ".join(f"{n} blocks of width {width}" for width, n in _DEPTHS.items() if width in query.facts.heads)
        raise CheckpointError(
            f"a published size ({known})",
            f"{depth} blocks of width {kernel[0]}",
            f"take a complete file, or give --arch '{factory}?depth={depth}&embed_dim={kernel[0]}&num_heads=...'",
        )
    native = _native(query, kernel[2])
    size = query.size or native or _SIZE
    options = {
        "img_size": size[0] if size[0] == size[1] else size,
        "patch_size": kernel[2],
        "embed_dim": kernel[0],
        "depth": depth,
        "num_heads": heads,
        "hidden": inner[0],
    }
    return Inferred(spelled(factory, {**options, **query.facts.options}), (), native)


def _native(query: Query, patch: int) -> tuple[int, int] | None:
    """(h, w) of the images that a position embedding with a class token is for; None without one."""
    places = query.shapes.get("pos_embed", ())
    if len(places) != 3:
        return None
    side = math.isqrt(places[1] - 1)
    if side * side != places[1] - 1:
        raise CheckpointError("positions over a square grid", f"{places[1]} positions", "take a complete file")
    return side * patch, side * patch
