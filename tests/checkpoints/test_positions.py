"""Interpolated positions: against torch and timm called as the families' papers describe it, and in plain cases."""

from __future__ import annotations

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch.nn.functional import interpolate

from benchmark.checkpoints.layout import Resample
from benchmark.checkpoints.positions import fit_positions
from benchmark.errors import CheckpointError

METHODS: tuple[Resample, ...] = ("timm", "dino", "dinov2", "dinov2-reg", "mae", "jepa")


def embedding(rows: int, columns: int, prefix: int = 1, width: int = 8) -> torch.Tensor:
    return torch.randn(1, prefix + rows * columns, width, generator=torch.Generator().manual_seed(0))


def grid_of(table: torch.Tensor, rows: int, columns: int, prefix: int = 1) -> torch.Tensor:
    return table[:, prefix:].reshape(1, rows, columns, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("method", METHODS)
def test_class_positions_stay_and_the_grid_is_interpolated(method: Resample) -> None:
    old = embedding(14, 14)
    fitted = fit_positions({"pos_embed": old}, {"pos_embed": (1, 401, 8)}, method, (224, 224), (320, 320))
    new = fitted.state["pos_embed"]
    assert new.shape == (1, 401, 8) and torch.equal(new[:, :1], old[:, :1])
    assert "14 x 14 to 20 x 20" in fitted.notes[0]
    grid = grid_of(old, 14, 14)
    wanted = {
        "timm": lambda: grid_of(resample_abs_pos_embed(old, [20, 20], [14, 14], num_prefix_tokens=1), 20, 20),
        "dino": lambda: interpolate(grid, scale_factor=(20.1 / 14, 20.1 / 14), mode="bicubic"),
        "dinov2": lambda: interpolate(grid, scale_factor=(20.1 / 14, 20.1 / 14), mode="bicubic"),
        "dinov2-reg": lambda: interpolate(grid, size=(20, 20), mode="bicubic", antialias=True),
        "mae": lambda: interpolate(grid, size=(20, 20), mode="bicubic"),
        "jepa": lambda: interpolate(grid, scale_factor=20 / 14, mode="bicubic"),
    }[method]()
    torch.testing.assert_close(grid_of(new, 20, 20), wanted, rtol=1e-5, atol=1e-6)


def test_the_families_differ_where_the_grid_shrinks() -> None:
    old = {"pos_embed": embedding(37, 37)}
    made = {
        m: fit_positions(old, {"pos_embed": (1, 257, 8)}, m, (518, 518), (224, 224)).state["pos_embed"] for m in METHODS
    }
    for other in ("dinov2-reg", "mae", "timm"):
        assert (made["dinov2"] - made[other]).abs().max() > 0.01, other


def test_what_has_the_right_size_is_left_alone() -> None:
    old = {"pos_embed": embedding(14, 14)}
    fitted = fit_positions(old, {"pos_embed": (1, 197, 8)}, "dinov2", (224, 224), (224, 224))
    assert fitted.state["pos_embed"] is old["pos_embed"] and not fitted.notes


def test_oblong_grids_keep_their_shape() -> None:
    rows = torch.arange(16.0)[:, None].expand(16, 8).reshape(1, 128, 1)
    fitted = fit_positions(
        {"pos_embed": torch.cat([torch.zeros(1, 1, 1), rows], 1)}, {"pos_embed": (1, 1 + 24 * 8, 1)}, "mae", (256, 128),
        (384, 128),
    )  # fmt: skip
    grid = grid_of(fitted.state["pos_embed"], 24, 8)[0, 0]
    assert (grid - grid[:, :1]).abs().max() < 1e-5  # rows were constant, and stay so
    assert (grid[1:, 0] - grid[:-1, 0]).min() > 0


def test_tables_of_relative_positions_follow_beit() -> None:
    table = torch.randn((2 * 14 - 1) ** 2 + 3, 4, generator=torch.Generator().manual_seed(1))
    state = {"blocks.0.attn.q_bias": torch.zeros(4), "blocks.0.attn.relative_position_bias_table": table}
    shape = ((2 * 24 - 1) ** 2 + 3, 4)
    fitted = fit_positions(state, {"blocks.0.attn.relative_position_bias_table": shape}, "timm", (224, 224), (384, 384))
    new = fitted.state["blocks.0.attn.relative_position_bias_table"]
    assert tuple(new.shape) == shape and torch.equal(new[-3:], table[-3:])
    before, after = table[:-3].reshape(27, 27, 4), new[:-3].reshape(47, 47, 4)
    torch.testing.assert_close(after[23, 23], before[13, 13])  # offset 0 stays offset 0
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):  # and the farthest stays the farthest
        torch.testing.assert_close(after[corner], before[corner], rtol=1e-3, atol=1e-3)
    flat = {**state, "blocks.0.attn.relative_position_bias_table": torch.full_like(table, 0.5)}
    even = fit_positions(flat, {"blocks.0.attn.relative_position_bias_table": shape}, "timm", (224, 224), (384, 384))
    torch.testing.assert_close(even.state["blocks.0.attn.relative_position_bias_table"], torch.full(shape, 0.5))


def test_a_table_that_is_no_square_stops() -> None:
    state = {"blocks.0.attn.q_bias": torch.zeros(4), "blocks.0.attn.relative_position_bias_table": torch.zeros(732, 4)}
    with pytest.raises(CheckpointError, match="square"):
        fit_positions(state, {"blocks.0.attn.relative_position_bias_table": (100, 4)}, "timm", None, (384, 384))


def test_a_windowed_table_is_no_matter_of_interpolation() -> None:
    state = {"layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(169, 3)}
    shape = {"layers.0.blocks.0.attn.relative_position_bias_table": (529, 3)}
    assert fit_positions(state, shape, "timm", None, (384, 384)).state == state
