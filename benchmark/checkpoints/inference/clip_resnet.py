"""CLIP's residual networks in timm's names, whose pooling by attention has another grid or other heads than CLIP's."""

from __future__ import annotations

import math

from benchmark.checkpoints.architecture import exact
from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

FACTORY = "python:benchmark.backbones.clip_networks:clip_resnet"
_STRIDE = 32
_HEAD_WIDTH = 64  # of CLIP's own pooling, at every width
_BLOCKS = ((3, 4, 6, 3), (3, 4, 23, 3), (4, 6, 10, 6), (6, 8, 18, 8), (3, 15, 36, 10))  # RN50, RN101, RN50x4, x16, x64


def infer_clip_resnet(query: Query) -> Inferred | None:
    """The architecture of such a network, or None where these are no such tensors or CLIP's own.

    Raises:
        CheckpointError: positions over a grid that the images do not have, a block missing.
    """
    shapes = query.shapes
    stem, places = shapes.get("stem.conv3.conv.weight", ()), shapes.get("head.pos_embed", ())
    if len(stem) != 4 or len(places) != 2 or "stages.0.0.conv2_kxk.conv.weight" not in shapes:
        return None
    if not query.facts.heads and exact(shapes):
        return None
    blocks = tuple(query.count(f"stages.{stage}.") for stage in range(4))
    if blocks not in _BLOCKS:
        found = "-".join(map(str, blocks))
        written = spelled(FACTORY, {"blocks": blocks})
        raise CheckpointError(
            "the blocks of one of CLIP's residual networks in every stage",
            found,
            f"take a complete file, or give --arch '{written}' if it was trained so",
        )
    native = _images(places[0] - 1, query.size)
    size = query.size or native
    heads = query.facts.heads.get(places[1], places[1] // _HEAD_WIDTH)
    options = {
        "blocks": blocks,
        "width": stem[0],
        "heads": heads,
        "img_size": size[0] if size[0] == size[1] else size,
    }
    notes = (f"{heads} heads in the pooling: what the layout {query.layout} says",) if query.facts.heads else ()
    return Inferred(spelled(FACTORY, options), notes, native)


def _images(positions: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """(h, w) of the images that positions without the pooled one are for: square ones, or those that the layout has."""
    side = math.isqrt(max(positions, 0))
    if side and side * side == positions:
        return side * _STRIDE, side * _STRIDE
    rows, columns = (size[0] // _STRIDE, size[1] // _STRIDE) if size else (0, 0)
    if rows * columns != positions:
        shown = f"{size[0]} x {size[1]} images" if size else "a square"
        raise CheckpointError(
            f"positions over the grid of {shown}", f"{positions} positions", "give --preprocess size=HxW of its images"
        )
    return rows * _STRIDE, columns * _STRIDE
