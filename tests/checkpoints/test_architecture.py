"""The shipped index names the architecture of a state dict."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision

from benchmark.checkpoints import architecture, index
from benchmark.checkpoints.architecture import INDEX, hint, nearest, signature, write

KNOWN = [
    "resnet18",
    "mobilenetv2_100",
    "vit_tiny_patch16_224",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "vgg11_bn",
]


@pytest.mark.parametrize("name", KNOWN)
def test_a_timm_state_dict_is_recognised(name: str) -> None:
    with torch.device("meta"):
        state = timm.create_model(name, num_classes=0).state_dict()
    best = nearest(state)[0]
    assert name in (best.name, *best.twins)
    assert best.similarity == pytest.approx(1.0)


def test_a_torchvision_state_dict_is_recognised() -> None:
    with torch.device("meta"):
        state = torchvision.models.vit_b_16(weights=None).state_dict()
    best = nearest(state)[0]
    assert best.name == "torchvision:vit_b_16"
    assert best.similarity > 0.95


def test_the_estimate_is_near_the_true_jaccard_index() -> None:
    with torch.device("meta"):
        smaller = timm.create_model("resnet34", num_classes=0).state_dict()
        larger = timm.create_model("resnet18", num_classes=0).state_dict()
    pairs = [
        {(key, tuple(value.shape)) for key, value in state.items() if "num_batches" not in key}
        for state in (smaller, larger)
    ]
    truth = len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])
    found = {near.name: near.similarity for near in nearest(smaller, n=50)}
    assert found["resnet18"] == pytest.approx(truth, abs=0.15)


def test_a_head_more_or_counters_less_change_little() -> None:
    with torch.device("meta"):
        state = timm.create_model("resnet18", num_classes=7).state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert nearest(old)[0] == nearest(state)[0]
    assert nearest(state)[0].name == "resnet18"
    assert nearest(state)[0].similarity > 0.95


def test_unknown_networks_have_no_neighbour_and_the_hint_says_so() -> None:
    assert nearest({"stage1.0.0.weight": (8, 3, 3, 3)}) == []
    assert nearest({}) == []
    assert "python:module:factory" in hint({"stage1.0.0.weight": (8, 3, 3, 3)})


def test_the_hint_gives_name_share_and_twins() -> None:
    with torch.device("meta"):
        state = timm.create_model("mobilenetv2_100", num_classes=0).state_dict()
    assert hint(state).startswith("nearest: mobilenetv2_100 (100% of tensors)")


def test_the_signature_is_that_of_names_and_shapes_only() -> None:
    state = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    same = signature({key: value.shape for key, value in reversed(state.items())})
    assert np.array_equal(signature({"a": (2, 3), "b": (4,)}), same)
    assert not np.array_equal(signature({"a": (3, 2), "b": (4,)}), same)
    assert not np.array_equal(signature({"c": (2, 3), "b": (4,)}), same)


def test_the_index_is_small_and_its_maker_makes_the_same_rows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = files("benchmark.checkpoints").joinpath(INDEX)
    with shipped.open("rb") as stream:
        assert len(stream.read()) < 400_000
    few = {"resnet18", "vit_tiny_patch16_224", "torchvision:resnet18", "torchvision:mobilenet_v2"}
    signatures, failed = index.collect((name, build) for name, build in index.builders() if name in few)
    assert not failed
    assert set(signatures) == few
    path = tmp_path / "index.npz"
    write(path, signatures)
    again, before = architecture._load(path), architecture._load(None)
    rows = {name: row for row, group in enumerate(before.names) for name in group}
    assert again.names[0][0] == "resnet18"
    assert "torchvision:resnet18" in again.names[0]  # equal tensors, one row
    for row, group in enumerate(again.names):
        assert before.sizes[rows[group[0]]] == again.sizes[row]
        assert np.array_equal(before.sketches[rows[group[0]]], again.sketches[row])


def test_an_architecture_that_cannot_be_built_is_left_out_with_its_reason() -> None:
    def fails() -> torch.nn.Module:
        raise NotImplementedError("no meta kernel\nmore")

    assert index.collect([("odd", fails)]) == ({}, {"odd": "NotImplementedError: no meta kernel"})
