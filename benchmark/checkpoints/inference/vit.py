"""Vision transformers in timm's names: plain ones and BEiT's with relative positions."""

from __future__ import annotations

from typing import Any

from benchmark.checkpoints.inference.inferred import Inferred, Query, spelled
from benchmark.errors import CheckpointError

# Heads in use for each width, from the published models: DeiT, timm, DINO and iBOT give ViT-S 6 heads, MoCo v3 gives it
# 12 (its README, note 2); ViT-Ti has 3, and 12 in the MAE-Lite models. The shapes of all tensors agree.
HEADS = {
    192: (3, 12), 384: (6, 12), 512: (8,), 640: (10,), 768: (12,), 896: (14,), 1024: (16,), 1152: (16,), 1280: (16,),
    1408: (16,), 1536: (24,), 1664: (16,), 1792: (16,), 2048: (16,), 4096: (32,),
}  # fmt: skip
_LEARNED_WITH_6 = 384  # MoCo v3's 12 heads come with fixed positions, sines and cosines
_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1408: "giant", 1664: "gigantic"}
_PATCHES = {
    "tiny": (16,), "small": (8, 16, 32), "base": (8, 16, 32), "large": (14, 16, 32), "huge": (14,), "giant": (14,),
    "gigantic": (14,),
}  # fmt: skip
_DEPTHS = {"tiny": 12, "small": 12, "base": 12, "large": 24, "huge": 32, "giant": 40, "gigantic": 48}
_RATIOS = {"giant": 48 / 11, "gigantic": 64 / 13}


def infer_vit(query: Query) -> Inferred | None:
    """The architecture of a plain vision transformer, or None where these are no such tensors."""
    shapes, facts = query.shapes, query.facts
    kernel = shapes.get("patch_embed.proj.weight", ())
    if len(kernel) != 4 or "blocks.0.attn.qkv.weight" not in shapes:
        return None
    if len(shapes["blocks.0.attn.qkv.weight"]) != 2 or shapes["blocks.0.attn.qkv.weight"][0] != 3 * kernel[0]:
        return None
    width, patch, depth = kernel[0], kernel[2:], query.count("blocks.")
    native, prefix = _grid(query, patch)
    if "blocks.0.attn.q_bias" in shapes or any(name.endswith("relative_position_bias_table") for name in shapes):
        return _beit(query, width, patch, depth)
    size = query.size or native or (224, 224)
    notes: list[str] = []
    if facts.arch:
        fields = {"size": _SIZES.get(width, "giant"), "patch": patch[0]}
        own = dict(facts.options)
        if size != (224, 224) or "img_size" in own or "dinov2" in facts.arch:
            own["img_size"] = size[0] if size[0] == size[1] else size
        return Inferred(spelled(facts.arch.format(**fields), own), (), native)
    if "norm_pre.weight" in shapes and not {"norm_eps", "act_layer"} & set(facts.options):
        name = _SIZES.get(width, "base")
        raise CheckpointError(
            "epsilon and activation of a CLIP tower, which no shape says",
            f"{query.layout} layout",
            f"give --arch vit_{name}_patch{patch[0]}_clip_224, or vit_{name}_patch{patch[0]}_clip_quickgelu_224 for "
            "weights trained by OpenAI's code",
        )
    size_name = _SIZES.get(width, "base")
    if _is_swiglu(shapes):
        base, size_name = "vit_giant_patch14_dinov2", "giant"
        options: dict[str, Any] = {"embed_dim": width, "patch_size": patch[0], "img_size": size[0]}
    elif _SIZES.get(width) and patch == (_nearest_patch(size_name, patch[0]),) * 2:
        base = f"vit_{size_name}_patch{patch[0]}_224"
        options = {}
    else:
        near = _nearest_patch(size_name, patch[0])
        base = f"vit_{size_name}_patch{near}_224"
        options = {"patch_size": patch[0] if patch[0] == patch[1] else patch}
        if width not in _SIZES:
            options["embed_dim"] = width
    options |= _depth(query, width, depth, size_name)
    heads = _heads(query, width, notes, base)
    gated = _is_swiglu(shapes)
    options |= {"num_heads": heads} if gated or heads != _default_heads(size_name) else {}
    options |= _mlp(shapes, width, 0.0 if gated else _RATIOS.get(size_name, 4.0))
    options |= _tokens(shapes, prefix)
    options |= {"img_size": size[0] if size[0] == size[1] else size} if size != (224, 224) else {}
    options |= {"qkv_bias": False} if "blocks.0.attn.qkv.bias" not in shapes else {}
    options |= {"proj_bias": False} if "blocks.0.attn.proj.bias" not in shapes else {}
    options |= {"qk_norm": True} if "blocks.0.attn.q_norm.weight" in shapes else {}
    options |= {"pre_norm": True} if "norm_pre.weight" in shapes else {}
    options |= {"init_values": 1e-05} if "blocks.0.ls1.gamma" in shapes else {}
    for key, value in facts.options.items():
        options[key] = value
        notes.append(f"{key} {value}: what the layout {query.layout} says")
    return Inferred(spelled(base, options), tuple(notes), native)


def _is_swiglu(shapes: Any) -> bool:
    """Gate and value of the MLP in one matrix (SwiGLU), with LayerScale as in DINOv2's giant."""
    inner, outer = shapes.get("blocks.0.mlp.fc1.weight"), shapes.get("blocks.0.mlp.fc2.weight")
    return bool(inner and outer and inner[0] == 2 * outer[1] and "blocks.0.ls1.gamma" in shapes)


def _nearest_patch(size: str, patch: int) -> int:
    return min(_PATCHES[size], key=lambda known: (abs(known - patch), known))


def _depth(query: Query, width: int, depth: int, size: str) -> dict[str, Any]:
    """The number of blocks, where it is not the usual one.

    Raises:
        CheckpointError: a width of which every published network has more blocks: the file has lost its last ones.
    """
    if depth == _DEPTHS[size]:
        return {}
    if width in _SIZES and _SIZES[width] == size and depth < _DEPTHS[size] and "depth" not in query.facts.options:
        raise CheckpointError(
            f"{_DEPTHS[size]} blocks, as published transformers of width {width} have",
            f"{depth} in the file",
            f"take a complete file, or give --arch with depth={depth} if it was trained so",
        )
    return {"depth": depth}


def _default_heads(size: str) -> int:
    return {"tiny": 3, "small": 6, "base": 12}.get(size, 16)


def _heads(query: Query, width: int, notes: list[str], base: str) -> int:
    """The number of heads: no shape says it; `base` is the architecture but for them, for messages.

    Raises:
        CheckpointError: several are in use for this width, and the layout does not say which.
    """
    if width in query.facts.heads:
        heads = query.facts.heads[width]
        notes.append(f"{heads} heads: what the layout {query.layout} says")
        return heads
    if "num_heads" in query.facts.options:
        return int(query.facts.options["num_heads"])
    if query.facts.head_width:
        notes.append(f"{query.facts.head_width} channels per head: what the layout {query.layout} says")
        return width // query.facts.head_width
    if "blocks.0.attn.q_norm.weight" in query.shapes:
        return width // query.shapes["blocks.0.attn.q_norm.weight"][0]
    if width in (192, 384) and ("blocks.0.ls1.gamma" in query.shapes or "reg_token" in query.shapes):
        notes.append(f"{width // 64} heads: those of every published network of width {width} with LayerScale")
        return width // 64
    if width == _LEARNED_WITH_6 and query.learned_positions:
        notes.append(f"6 heads: those of every published network of width {width} that learned its positions")
        return 6
    candidates = HEADS.get(width, ()) or tuple(h for h in (width // 64, width // 32) if h and width % h == 0)
    if len(candidates) != 1:
        shown = " or ".join(f"num_heads={heads}" for heads in candidates)
        raise CheckpointError(
            f"the number of heads of a transformer of width {width}, which no shape says",
            f"{query.layout} layout, for which {shown} is possible",
            f"give --arch '{base}?num_heads={candidates[0]}' (DINO, DeiT) or num_heads=12 (MoCo v3, CAE, MAE-Lite)"
            if width in HEADS else f"give --arch with {shown or 'num_heads='}",
        )  # fmt: skip
    notes.append(f"{candidates[0]} heads: the number in use for width {width}")
    return candidates[0]


def _mlp(shapes: Any, width: int, default: float) -> dict[str, Any]:
    inner, outer = shapes.get("blocks.0.mlp.fc1.weight"), shapes.get("blocks.0.mlp.fc2.weight")
    if not inner or not outer:
        return {}
    options: dict[str, Any] = {}
    if int(width * default) != inner[0]:
        ratio = inner[0] / width
        options["mlp_ratio"] = ratio if int(width * ratio) == inner[0] else ratio + 1e-6
    return options


def _tokens(shapes: Any, prefix: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    registers = shapes.get("reg_token", (1, 0))[1]
    if registers:
        options["reg_tokens"] = registers
    if "cls_token" not in shapes:
        options["class_token"] = False
    if "pos_embed" not in shapes:
        options["pos_embed"] = "none"
    elif prefix == 0 and ("cls_token" in shapes or registers):
        options["no_embed_class"] = True
    if any(name.startswith("attn_pool.") for name in shapes):
        options["global_pool"] = "map"
    elif "fc_norm.weight" in shapes:
        options["global_pool"] = "avg"
    elif "cls_token" not in shapes:
        options |= {"global_pool": "avg", "fc_norm": False}
    if "norm.weight" not in shapes and "fc_norm.weight" not in shapes:
        options["final_norm"] = False
    return options


def _grid(query: Query, patch: tuple[int, ...]) -> tuple[tuple[int, int] | None, int]:
    """((h, w) of the images that the position embedding is for, the tokens before the patches that it covers).

    Raises:
        CheckpointError: a number of positions that is no grid.
    """
    shapes = query.shapes
    if "pos_embed" not in shapes:
        return None, 0
    positions = shapes["pos_embed"]
    if len(positions) == 4:  # (1, h, w, D)
        return (positions[1] * patch[0], positions[2] * patch[1]), 0
    registers = shapes.get("reg_token", (1, 0))[1] + int("dist_token" in shapes)
    tokens = positions[-2]
    for prefix in dict.fromkeys((int("cls_token" in shapes), int("cls_token" in shapes) + registers, 0)):
        side = round((tokens - prefix) ** 0.5)
        if side > 0 and side * side == tokens - prefix:
            return (side * patch[0], side * patch[1]), prefix
    if query.size is not None:  # an oblong grid, of the shape that the layout's images have
        for prefix in (int("cls_token" in shapes), 0):
            rows = round(((tokens - prefix) * query.size[0] * patch[1] / (query.size[1] * patch[0])) ** 0.5)
            if rows and (tokens - prefix) % rows == 0:
                return (rows * patch[0], (tokens - prefix) // rows * patch[1]), prefix
    raise CheckpointError(
        "a position embedding over a square grid", f"{tokens} positions", "give --preprocess size=HxW of its images"
    )


def _beit(query: Query, width: int, patch: tuple[int, ...], depth: int) -> Inferred:
    """BEiT: heads and grid can be read from the tables of relative positions."""
    shapes, facts = query.shapes, query.facts
    size_name = "large" if width == 1024 else "base"
    table = shapes.get("blocks.0.attn.relative_position_bias_table")
    shared = shapes.get("rel_pos_bias.relative_position_bias_table")
    options: dict[str, Any] = {}
    native: tuple[int, int] | None = None
    notes: list[str] = []
    relative = table or shared
    if relative:
        heads = relative[1]
        side = (round((relative[0] - 3) ** 0.5) + 1) // 2
        native = (side * patch[0], side * patch[1])
    else:
        heads = _heads(query, width, notes, f"beit_{size_name}_patch16_224")
    if "pos_embed" in shapes:
        native = _grid(query, patch)[0]
    size = query.size or native or (224, 224)
    if width not in (768, 1024):
        options["embed_dim"] = width
    options |= _depth(query, width, depth, size_name)
    options |= {"num_heads": heads} if heads != _default_heads(size_name) else {}
    options |= {"patch_size": patch[0]} if patch[0] != 16 else {}
    options |= {"img_size": size[0] if size[0] == size[1] else size} if size != (224, 224) else {}
    options |= _mlp(shapes, width, 4.0)
    options |= {"use_rel_pos_bias": False} if not table else {}
    options |= {"use_shared_rel_pos_bias": True} if shared else {}
    options |= {"use_abs_pos_emb": True} if "pos_embed" in shapes else {}
    options |= {"qkv_bias": False} if "blocks.0.attn.q_bias" not in shapes else {}
    options |= {"init_values": 0} if "blocks.0.gamma_1" not in shapes else {}
    if "fc_norm.weight" not in shapes:
        options["use_fc_norm"] = False
    for key, value in facts.options.items():
        options[key] = value
        notes.append(f"{key} {value}: what the layout {query.layout} says")
    return Inferred(spelled(f"beit_{size_name}_patch16_224", options), tuple(notes), native)
