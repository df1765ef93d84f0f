"""Each change against a small example worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from benchmark.checkpoints.changes import Change
from benchmark.errors import CheckpointError

ADAPTER: TypeAdapter[Any] = TypeAdapter(Change)


def changed(state: dict[str, Tensor], **change: Any) -> dict[str, Tensor]:
    before = {name: tensor.clone() for name, tensor in state.items()}
    after: dict[str, Tensor] = ADAPTER.validate_python(change).apply(state)
    assert state.keys() == before.keys() and all(torch.equal(state[name], before[name]) for name in state)
    return after


def test_permute_turns_a_kernel_of_jax_into_one_of_torch() -> None:
    kernel = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # height, width, in, out
    after = changed({"conv.w": kernel, "b": torch.ones(5)}, op="permute", pattern=r"\.w$", axes=[3, 2, 0, 1])
    assert after["conv.w"].shape == (5, 4, 2, 3)
    assert after["conv.w"][4, 3, 1, 2] == kernel[1, 2, 3, 4]
    assert after["b"].shape == (5,)


def test_reshape_keeps_axes_named_zero() -> None:
    query = torch.arange(24.0).reshape(4, 2, 3)  # width, heads, head width
    after = changed({"query": query}, op="reshape", pattern="query", shape=[0, -1])
    assert torch.equal(after["query"], query.reshape(4, 6))


def test_fuse_joins_in_the_stated_order_and_fills_what_is_zero() -> None:
    state = {
        "0.v.bias": torch.tensor([5.0, 6.0]), "0.q.bias": torch.tensor([1.0, 2.0]),
        "0.v.weight": torch.full((2, 2), 3.0), "0.k.weight": torch.full((2, 2), 2.0), "0.q.weight": torch.ones(2, 2),
        "rest": torch.zeros(1),
    }  # fmt: skip
    after = changed(
        state, op="fuse", pattern=r"^(\d+)\.(?P<part>[qkv])\.(weight|bias)$", parts=["q", "k", "v"], into=r"\1.qkv.\3",
        zeros=["k"],
    )  # fmt: skip
    assert set(after) == {"0.qkv.bias", "0.qkv.weight", "rest"}
    assert after["0.qkv.bias"].tolist() == [1, 2, 0, 0, 5, 6]
    assert after["0.qkv.weight"][:, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_split_names_the_parts_and_leaves_unnamed_ones_out() -> None:
    after = changed({"a.qkv": torch.arange(6.0)}, op="split", pattern=r"^(\w+)\.qkv$", into=[r"\1.q", "", r"\1.v"])
    assert {name: tensor.tolist() for name, tensor in after.items()} == {"a.q": [0, 1], "a.v": [4, 5]}


def test_unstack_takes_scanned_layers_apart() -> None:
    after = changed(
        {"block/w": torch.arange(6.0).reshape(3, 2)}, op="unstack", pattern="^block/(w)$", into=r"blocks.{}.\1"
    )
    assert {name: tensor.tolist() for name, tensor in after.items()} == {
        "blocks.0.w": [0, 1], "blocks.1.w": [2, 3], "blocks.2.w": [4, 5],
    }  # fmt: skip


def test_slice_peel_and_add_move_rows() -> None:
    table = torch.arange(10.0).reshape(1, 5, 2)
    assert changed({"t": table}, op="slice", pattern="t", dim=1, start=2)["t"].tolist() == table[:, 2:].tolist()
    peeled = changed({"t": table, "cls": torch.ones(1, 1, 2)}, op="peel", pattern="^t$", into="first", dim=1)
    assert peeled["first"].tolist() == [[[0, 1]]] and peeled["t"].shape == (1, 4, 2)
    added = changed(peeled, op="add", pattern="^first$", to="cls")
    assert added["cls"].tolist() == [[[1, 2]]] and "first" not in added


def test_sum_adds_frames() -> None:
    after = changed({"w": torch.ones(2, 3, 4, 5, 5)}, op="sum", pattern="w", dim=2)
    assert torch.equal(after["w"], torch.full((2, 3, 5, 5), 4.0))


def test_scale_multiplies() -> None:
    after = changed({"w": torch.ones(2), "v": torch.ones(2)}, op="scale", pattern="w", factor=2.0)
    assert after["w"].tolist() == [2, 2] and after["v"].tolist() == [1, 1]


def test_spread_copies_to_every_block() -> None:
    state = {"shared": torch.arange(3.0), "blocks.0.norm": torch.ones(1), "blocks.1.norm": torch.ones(1)}
    after = changed(state, op="spread", pattern="^shared$", over=r"^blocks\.(\d+)\.norm$", into=r"blocks.\1.table")
    assert "shared" not in after
    assert torch.equal(after["blocks.1.table"], state["shared"]) and torch.equal(
        after["blocks.0.table"], state["shared"]
    )


def test_zeros_stand_for_a_bias_that_a_file_lacks() -> None:
    change = {"op": "zeros", "pattern": r"^(\w)\.weight$", "into": r"\1.bias"}
    after = changed({"a.weight": torch.ones(3, 2), "b.weight": torch.ones(2), "b.bias": torch.ones(2)}, **change)
    assert after["a.bias"].tolist() == [0, 0, 0] and after["b.bias"].tolist() == [1, 1]


@pytest.mark.parametrize("change", [
    {"op": "permute", "pattern": "x", "axes": [1, 0, 2]},
    {"op": "reshape", "pattern": "x", "shape": [4, 4]},
    {"op": "split", "pattern": "x", "into": ["a", "b", "c", "d"]},
    {"op": "slice", "pattern": "x", "dim": 0, "start": 9},
    {"op": "sum", "pattern": "x", "dim": 5},
    {"op": "add", "pattern": "x", "to": "nothing"},
    {"op": "peel", "pattern": "x", "into": "y", "count": 3},
    {"op": "fuse", "pattern": "(?P<part>x)", "parts": ["x", "y"], "into": "xy"},
])  # fmt: skip
def test_a_tensor_of_another_shape_stops(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        changed({"x": torch.zeros(3, 2)}, **change)


def test_a_pattern_that_is_none_and_an_unknown_change_are_refused() -> None:
    with pytest.raises(ValidationError, match="regular expression"):
        ADAPTER.validate_python({"op": "sum", "pattern": "(", "dim": 0})
    with pytest.raises(ValidationError):
        ADAPTER.validate_python({"op": "invert", "pattern": "x"})
