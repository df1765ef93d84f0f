"""CroCo v2's transformers, whose queries and keys are turned by the place of their patch: no tensor holds positions."""

from __future__ import annotations

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

FACTORY = "python:benchmark.backbones.vit_networks:rotary_vit"
_SIZE = (224, 224)  # of the crops that it was trained on
_DEPTHS = {768: 12, 1024: 24}


def infer_rotary(query: Query) -> Inferred | None:
    """The architecture of such a transformer, or None where the layout is no such one.

    Raises:
        CheckpointError: a width that is not published, a block missing.
    """
    shapes = query.shapes
    if query.facts.arch != FACTORY:
        return None
    kernel, inner = shapes.get("patch_embed.proj.weight", ()), shapes.get("blocks.0.mlp.fc1.weight", ())
    if len(kernel) != 4 or len(inner) != 2:
        raise CheckpointError("a patch embedding and blocks", f"{len(shapes)} other tensors", "take a complete file")
    heads, depth = query.facts.heads.get(kernel[0], 0), query.count("blocks.")
    if not heads or depth != _DEPTHS[kernel[0]]:
        known = ", ".join(f"{n} blocks of width {width}" for width, n in _DEPTHS.items())
        raise CheckpointError(
            f"a published size ({known})",
            f"{depth} blocks of width {kernel[0]}",
            f"take a complete file, or give --arch '{FACTORY}?depth={depth}&embed_dim={kernel[0]}&num_heads=...'",
        )
    size = query.size or _SIZE
    options = {
        "img_size": size[0] if size[0] == size[1] else size,
        "patch_size": kernel[2],
        "embed_dim": kernel[0],
        "depth": depth,
        "num_heads": heads,
        "hidden": inner[0],
    }
    return Inferred(spelled(FACTORY, {**options, **query.facts.options}))
