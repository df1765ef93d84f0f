"""ConvNeXt in timm's names, without layer scales: the index knows the published sizes that have them."""

from __future__ import annotations

from typing import Any

from benchmark.checkpoints.architecture import exact
from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled

FACTORY = "python:benchmark.backbones.networks:convnext"


def infer_convnext(query: Query) -> Inferred | None:
    """The architecture of a ConvNeXt whose blocks do not scale their output, or None where these are no such tensors.

    Raises:
        CheckpointError: a block in the middle is missing.
    """
    shapes = query.shapes
    if query.facts.arch or len(shapes.get("stem.0.weight", ())) != 4:
        return None
    first = {name.removeprefix("stages.0.blocks.0.") for name in shapes if name.startswith("stages.0.blocks.0.")}
    leaves = {f"{part}.{leaf}" for part in ("conv_dw", "norm", "mlp.fc1", "mlp.fc2") for leaf in ("weight", "bias")}
    grn = {f"mlp.grn.{leaf}" for leaf in ("weight", "bias")}
    final = any(f"{name}.weight" in shapes for name in ("norm_pre", "head.norm"))
    if first not in (leaves, leaves | grn) or len(shapes["stages.0.blocks.0.mlp.fc1.weight"]) != 2:
        return None
    if first != leaves and exact(shapes):  # not the smallest ones, whose layers timm writes as convolutions
        return None
    depths = tuple(query.count(f"stages.{stage}.blocks.") for stage in range(query.count("stages.")))
    dims = tuple(
        shapes.get(f"stages.{stage}.blocks.0.conv_dw.bias", (0,))[0] for stage in range(query.count("stages."))
    )
    made: dict[str, Any] = {"depths": depths, "dims": dims}
    made |= {"grn": True} if first != leaves else {}
    made |= {} if final else {"final_norm": False}
    return Inferred(spelled(FACTORY, {**made, **query.facts.options}))
