"""Position embeddings at another image size, interpolated as each family's own code does it.

A factor of scale instead of a size, an offset, antialiasing: they move features by some percent, and a paper's figures
rest on its own choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import RectBivariateSpline
from timm.layers import resample_abs_pos_embed
from torch import Tensor
from torch.nn.functional import interpolate

from benchmark.checkpoints.layout import Resample
from benchmark.errors import CheckpointError

_EMBEDDINGS = ("pos_embed", "head.pos_embed")  # of the encoder, of the attention that pools its map
_TABLE = "relative_position_bias_table"
_EXTRA = 3  # entries of BEiT's tables for the class token: to it, from it, with itself


@dataclass(frozen=True)
class Fitted:
    """A state whose position embeddings have the sizes that an architecture has.

    Attributes:
        state: tensors by name.
        notes: what was interpolated, for people.
    """

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def fit_positions(
    state: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    method: Resample,
    native: tuple[int, int] | None,
    wanted: tuple[int, int],
) -> Fitted:
    """Interpolates absolute embeddings and tables of relative positions to the shapes that are expected.

    Args:
        state: an encoder's tensors.
        expected: shapes by name.
        method: whose code to follow.
        native: (h, w) of the images that the file's embeddings are for, in pixels; None for a square grid.
        wanted: (h, w) of the images that the encoder is to see, in pixels.

    Raises:
        CheckpointError: an embedding that is no grid.
    """
    fitted, notes = dict(state), []
    for name in _EMBEDDINGS:
        if name in state and name in expected and tuple(state[name].shape) != expected[name]:
            steps = _steps(state, expected[name], wanted) if method == "jepa" else 1
            flat = state[name].ndim == 2 and len(expected[name]) == 2  # (N, D)
            held, shape = (state[name][None], (1, *expected[name])) if flat else (state[name], expected[name])
            made, note = _absolute(held, shape, method, native, wanted, steps)
            fitted[name] = made[0] if flat else made
            notes.append(note)
    tables = [n for n in state if n.endswith(_TABLE) and n in expected and tuple(state[n].shape) != expected[n]]
    for name in tables:
        old, new = state[name], expected[name]
        if "blocks.0.attn.q_bias" not in state and "rel_pos_bias.relative_position_bias_table" not in state:
            break  # a window's table (Swin): another window is another architecture
        fitted[name] = _table(old, _side(old.shape[0] - _EXTRA), _side(new[0] - _EXTRA))
    if tables and fitted[tables[0]] is not state[tables[0]]:
        notes.append(f"{len(tables)} tables of relative positions interpolated to {wanted[0]} x {wanted[1]} images")
    return Fitted(fitted, tuple(notes))


def _steps(state: Mapping[str, Tensor], shape: tuple[int, ...], wanted: tuple[int, int]) -> int:
    """Over how many steps of a clip an embedding repeats the grid of patches; 1 for an image's."""
    if len(shape) != 3 or "patch_embed.proj.weight" not in state:
        return 1
    high, wide = state["patch_embed.proj.weight"].shape[-2:]
    patches = (wanted[0] // high) * (wanted[1] // wide)
    return shape[1] // patches if patches and shape[1] % patches == 0 else 1


def _side(entries: int) -> int:
    side = math.isqrt(max(entries, 0))
    if side * side != entries:
        raise CheckpointError("a table over a square of offsets", f"{entries} entries", "choose a square image size")
    return side


def _table(old: Tensor, before: int, after: int) -> Tensor:
    """BEiT's table (before^2 + 3, heads) at another grid, (after^2 + 3, heads).

    As its fine-tuning does: the old rows stand at offsets that grow geometrically up to the reach of the new table, and
    a cubic spline through them is read at whole offsets. timm reads a piecewise linear function instead.
    """
    known = _offsets(before // 2, after // 2)
    asked = np.arange(after) - after // 2
    heads = old[:-_EXTRA].double().numpy().reshape(before, before, -1)
    degree = min(3, before - 1)
    splines = [RectBivariateSpline(known, known, heads[..., i], kx=degree, ky=degree) for i in range(heads.shape[-1])]
    read = [spline(asked, asked) for spline in splines]
    table = torch.from_numpy(np.stack(read, axis=-1).reshape(after * after, -1)).to(old.dtype)
    return torch.cat([table, old[-_EXTRA:]])


def _offsets(count: int, reach: int) -> np.ndarray:
    """2 `count` + 1 offsets about 0; the steps away from it grow by the ratio that takes the last one to `reach`."""
    low, high, ratio = 1.01, 1.5, 1.01
    while high - low > 1e-6:  # the precision of BEiT's search, which shows in the result
        ratio = (low + high) / 2
        if (ratio**count - 1) / (ratio - 1) > reach:
            high = ratio
        else:
            low = ratio
    positive = np.cumsum(ratio ** np.arange(count))
    return np.concatenate([-positive[::-1], [0.0], positive])


def _absolute(
    old: Tensor,
    shape: tuple[int, ...],
    method: Resample,
    native: tuple[int, int] | None,
    wanted: tuple[int, int],
    steps: int = 1,
) -> tuple[Tensor, str]:
    """(the embedding, what was done)."""
    if old.ndim != 3 or len(shape) != 3 or old.shape[-1] != shape[-1] or old.shape[1] % steps:
        return old, ""  # the account says what is wrong
    prefix, before, after = _split(old.shape[1] // steps, shape[1] // steps, native, wanted)
    if before is None or after is None:
        return old, ""
    grid = old[:, prefix:].float().reshape(steps, *before, -1).permute(0, 3, 1, 2)
    new = _interpolated(old, grid, prefix, before, after, method)
    done = "cut" if method == "corner" else "interpolated"
    note = f"position embedding {done} from {_by(before)} to {_by(after)} patches, as {_WHOSE[method]}"
    return new.to(old.dtype), note


_WHOSE = {
    "timm": "timm does (bicubic, antialiased)",
    "dino": "DINO does (bicubic, scale factor with an offset of 0.1)",
    "dinov2": "DINOv2 does (bicubic, scale factor with an offset of 0.1)",
    "dinov2-reg": "DINOv2 with registers does (bicubic, antialiased)",
    "mae": "MAE does (bicubic, no antialiasing)",
    "jepa": "V-JEPA does (an image's bicubic, a clip's linear, no antialiasing)",
    "vit": "Google's code does (bilinear between the centres of the corners)",
    "bilinear": "DenseCLIP and SETR do (bilinear, no antialiasing)",
    "area": "M2-Encoder does (means of areas)",
    "corner": "DenseCLIP's detectors do (its upper left corner, nothing interpolated)",
}


def _interpolated(
    old: Tensor, grid: Tensor, prefix: int, before: tuple[int, int], after: tuple[int, int], method: Resample
) -> Tensor:
    if method == "timm":
        return resample_abs_pos_embed(old, list(after), list(before), num_prefix_tokens=prefix)
    if method == "vit":
        # vit_jax/checkpoint.py interpolate_posembed and big_vision models/vit.py resample_posemb: zoom of order 1.
        new = interpolate(grid, size=after, mode="bilinear", align_corners=True)
    elif method in ("dino", "dinov2"):
        # dino/vision_transformer.py and dinov2/models/vision_transformer.py, interpolate_pos_encoding. DINO takes the
        # root of the number of patches, which an oblong grid does not have.
        root = math.sqrt(before[0] * before[1])
        scale = ((after[0] + 0.1) / root, (after[1] + 0.1) / root)
        new = interpolate(grid, scale_factor=scale, mode="bicubic")
    elif method == "bilinear":
        # DenseCLIP/segmentation/denseclip/models.py, AttentionPool2d; mmseg/models/backbones/vit.py, resize_pos_embed
        new = interpolate(grid, size=after, mode="bilinear")
    elif method == "area":
        new = interpolate(
            grid, size=after, mode="area"
        )  # M2_Encoder/vlmo/modules/vlmo_module.py, convert_deepspeed_ckpt
    elif method == "corner":
        new = grid[:, :, : after[0], : after[1]]  # DenseCLIP/detection/denseclip/models.py, AttentionPool2d
    elif method == "jepa":
        # jepa/src/models/vision_transformer.py, interpolate_pos_encoding: trilinear for clips of as many steps.
        # ijepa's own function counts on a class token, which its network has not, and stops at every other size.
        new = interpolate(grid, size=after, mode="bilinear" if len(grid) > 1 else "bicubic")
    else:
        # mae/util/pos_embed.py interpolate_pos_embed; dinov2 with interpolate_offset 0 and interpolate_antialias.
        new = interpolate(grid, size=after, mode="bicubic", antialias=method == "dinov2-reg")
    if tuple(new.shape[-2:]) != after:
        raise CheckpointError(
            f"an interpolation to {_by(after)} patches",
            _by((new.shape[-2], new.shape[-1])),
            "choose another image size",
        )
    flat = new.permute(0, 2, 3, 1).reshape(1, -1, new.shape[1])
    return torch.cat([old[:, :prefix].float(), flat], dim=1)


def _split(
    old: int, new: int, native: tuple[int, int] | None, wanted: tuple[int, int]
) -> tuple[int, tuple[int, int] | None, tuple[int, int] | None]:
    """(tokens before the patches, grid of the file, grid of the architecture)."""
    for prefix in range(0, 6):
        after = _grid(new - prefix, wanted)
        before = _grid(old - prefix, native) if native else _square(old - prefix)
        if after and before:
            return prefix, before, after
    return 0, None, None


def _grid(patches: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """The grid with that many patches and the shape of the image."""
    if patches <= 0:
        return None
    rows = round(math.sqrt(patches * size[0] / size[1]))
    if rows <= 0 or patches % rows:
        return None
    columns = patches // rows
    patch = size[0] // rows, size[1] // columns
    return (rows, columns) if min(patch) > 0 and abs(patch[0] - patch[1]) <= 1 else None


def _square(patches: int) -> tuple[int, int] | None:
    side = math.isqrt(max(patches, 0))
    return (side, side) if side and side * side == patches else None


def _by(grid: tuple[int, int]) -> str:
    return f"{grid[0]} x {grid[1]}"
