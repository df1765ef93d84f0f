"""DINOv3's transformers in timm's names, the periods of their rotary positions among the tensors."""

from __future__ import annotations

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

FACTORY = "python:benchmark.backbones.vit_networks:dinov3"
_DEPTHS = {384: 12, 768: 12, 1024: 24, 1280: 32, 4096: 40}  # dinov3/hub/backbones.py
_COORDINATES = 4  # a head's channels per period: sine and cosine of two coordinates


def infer_dinov3(query: Query) -> Inferred | None:
    """The architecture of a DINOv3 transformer, or None where these are no such tensors.

    Raises:
        CheckpointError: a block is missing.
    """
    shapes = query.shapes
    periods, kernel = shapes.get("rope.periods", ()), shapes.get("patch_embed.proj.weight", ())
    gated = "blocks.0.mlp.fc1_g.weight" in shapes
    inner = shapes.get("blocks.0.mlp.fc1_g.weight" if gated else "blocks.0.mlp.fc1.weight", ())
    if len(periods) != 1 or len(kernel) != 4 or len(inner) != 2 or "reg_token" not in shapes:
        return None
    depth = query.count("blocks.")
    if depth < _DEPTHS.get(kernel[0], 0):
        raise CheckpointError(
            f"{_DEPTHS[kernel[0]]} blocks, as DINOv3's transformers of width {kernel[0]} have",
            f"{depth} in the file",
            "take a complete file, or give --arch",
        )
    options = {
        "embed_dim": kernel[0],
        "depth": depth,
        "num_heads": kernel[0] // (_COORDINATES * periods[0]),
        "hidden": inner[0],
        "gated": gated,
        "patch_size": kernel[2],
        "registers": shapes["reg_token"][1],
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "masked": "blocks.0.attn.qkv.bias_mask" in shapes,
    }
    return Inferred(spelled(FACTORY, {**options, **query.facts.options}))
