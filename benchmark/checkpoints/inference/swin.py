"""Swin transformers, first and second version, in timm's names: widths, heads, windows and image size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

_STAGES = 4
_SIZES = {(96, 6): "tiny", (96, 18): "small", (128, 18): "base", (192, 18): "large"}  # by width and depth of stage 3
_FIRST = "layers.0.blocks.0.attn."


def infer_swin(query: Query, state: Mapping[str, Tensor]) -> Inferred | None:
    """The architecture of a Swin transformer, or None where these are no such tensors.

    Args:
        query: what is asked for.
        state: the encoder's tensors: its buffers, which are otherwise left out, tell windows and image size.

    Raises:
        CheckpointError: a second version without the buffers that tell its windows.
    """
    shapes = query.shapes
    first = f"{_FIRST}relative_position_bias_table" in shapes
    if not (first or f"{_FIRST}cpb_mlp.0.weight" in shapes) or "patch_embed.proj.weight" not in shapes:
        return None
    width = shapes["patch_embed.proj.weight"][0]
    stages = query.count("layers.")
    depths = tuple(query.count(f"layers.{stage}.blocks.") for stage in range(stages))
    if stages != _STAGES or not all(depths):
        return None
    attention = [f"layers.{stage}.blocks.0.attn." for stage in range(stages)]
    if first:
        tables = [shapes[f"{name}relative_position_bias_table"] for name in attention]
        windows = [(math.isqrt(table[0]) + 1) // 2 for table in tables]
        heads = tuple(table[1] for table in tables)
    else:
        windows = _windows(attention, state, query)
        heads = tuple(shapes[f"{name}logit_scale"][0] for name in attention)
    native = _native(windows, state)
    size = query.size or (native, native)
    named = _SIZES.get((width, depths[2]), "tiny")
    base = f"swin_{named}_patch4_window7_224" if first else f"swinv2_{named}_window8_256"
    options: dict[str, Any] = {}
    options |= {"embed_dim": width} if width != {"base": 128, "large": 192}.get(named, 96) else {}
    options |= {"depths": depths} if depths != (2, 2, 6 if named == "tiny" else 18, 2) else {}
    usual = tuple(width // 32 * 2**stage for stage in range(stages))
    options |= {"num_heads": heads} if heads != usual or "embed_dim" in options else {}
    options |= {"window_size": windows[0]} if windows[0] != (7 if first else 8) else {}
    standard = 224 if first else 256
    options |= {"img_size": size[0] if size[0] == size[1] else size} if size != (standard, standard) else {}
    if not first and any(before := _trained_windows(attention, state, windows)):
        options["pretrained_window_sizes"] = before
    for key, value in query.facts.options.items():
        options[key] = value
    if not first and named == "large":  # timm has it for windows of 12 only
        base = "swinv2_base_window8_256"
        options |= {"embed_dim": width, "num_heads": heads}
    return Inferred(spelled(base, options), (), (native, native))


def _windows(attention: list[str], state: Mapping[str, Tensor], query: Query) -> list[int]:
    """The sides of the windows of every stage, from the tables of offsets (1, 2w - 1, 2w - 1, 2)."""
    tables = [state.get(f"{name}relative_coords_table") for name in attention]
    if any(table is None for table in tables):
        raise CheckpointError(
            "the tables of offsets of a Swin of the second version, which alone tell its windows",
            f"a file of the layout {query.layout} without relative_coords_table",
            "give --arch, swinv2_base_window12_192 for instance",
        )
    return [(table.shape[1] + 1) // 2 for table in tables if table is not None]


def _trained_windows(attention: list[str], state: Mapping[str, Tensor], windows: list[int]) -> tuple[int, ...]:
    """The windows before fine-tuning with larger ones, 0 where they were the same.

    Offsets are scaled so that the window of pretraining ends at 8; the table holds log2(1 + offset) / 3.
    """
    found = []
    for name, window in zip(attention, windows, strict=True):
        last = 8 ** float(state[f"{name}relative_coords_table"].max()) - 1
        before = round(1 + 8 * (window - 1) / last)
        found.append(0 if before == window else before)
    return tuple(found)


def _native(windows: list[int], state: Mapping[str, Tensor]) -> int:
    """The side of the images that the file is for.

    The mask of shifted windows tells it; else the last stage, whose map is one window where windows are smaller there,
    and usually where they are not.
    """
    mask = state.get("layers.0.blocks.1.attn_mask")
    if mask is not None and mask.ndim == 3:
        return math.isqrt(mask.shape[0]) * windows[0] * 4
    return windows[-1] * 32
