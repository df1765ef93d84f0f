"""The shipped index names the architecture of a state dict."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import timm
import torch
import torchvision

from benchmark.checkpoints import architecture, index
from benchmark.checkpoints.architecture import INDEX, differences, exact, hint, nearest, write

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
    assert best.similarity == 1


def test_a_torchvision_state_dict_is_recognised() -> None:
    with torch.device("meta"):
        state = torchvision.models.vit_b_16(weights=None).state_dict()
    best = nearest(state)[0]
    assert best.name == "torchvision:vit_b_16"
    assert best.similarity > 0.95


def test_the_similarity_is_the_jaccard_index() -> None:
    with torch.device("meta"):
        smaller = timm.create_model("resnet34", num_classes=0).state_dict()
        larger = timm.create_model("resnet18", num_classes=0).state_dict()
    pairs = [
        {(key, tuple(value.shape)) for key, value in state.items() if "num_batches" not in key}
        for state in (smaller, larger)
    ]
    truth = len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])
    found = {near.name: near.similarity for near in nearest(smaller, n=50)}
    assert found["resnet18"] == pytest.approx(truth, abs=1e-12)


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


def test_every_network_is_told_from_one_that_differs_in_a_single_tensor(tmp_path: Path) -> None:
    with torch.device("meta"):
        state = timm.create_model("resnet50", num_classes=0).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert "resnet50" in exact(shapes)
    for name in shapes:
        assert exact({**shapes, name: (*shapes[name], 1)}) == ()
        assert exact({other: shape for other, shape in shapes.items() if other != name}) == ()
    assert exact({**shapes, "one.more": (1,)}) == ()
    # every pair of the shipped index's networks, the nearest ones included: no two rows are equal
    index_ = architecture._load(None)
    rows = [tuple(row) for row in (sorted(index_.tensors(row).items()) for row in range(0, len(index_.groups), 7))]
    assert len(set(rows)) == len(rows)


def test_vision_transformers_of_torchvision_are_told_apart_by_their_stems() -> None:
    for name in ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32"):
        with torch.device("meta"):
            state = torchvision.models.get_model(name, weights=None).state_dict()
        shapes = {key: tuple(value.shape) for key, value in state.items() if not key.startswith("heads.")}
        assert exact(shapes) == (f"torchvision:{name}",)


def test_the_hint_says_which_tensors_differ() -> None:
    with torch.device("meta"):
        state = timm.create_model("resnet50", num_classes=0).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert differences(shapes, "resnet50") == []
    shapes |= {"layer2.1.conv2.weight": (128, 64, 3, 3), "extra.weight": (3,)}
    del shapes["conv1.weight"]
    assert differences(shapes, "resnet50") == [
        "layer2.1.conv2.weight (128, 64, 3, 3) for (128, 128, 3, 3)",
        "no conv1.weight (64, 3, 7, 7)",
        "extra.weight (3,) besides",
    ]
    assert "from resnet50 it differs in layer2.1.conv2.weight" in hint(shapes)
    del shapes["bn1.weight"]
    assert hint(shapes).endswith("and 1 more")


def test_the_index_is_small_and_its_maker_makes_the_same_rows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = files("benchmark.checkpoints").joinpath(INDEX)
    with shipped.open("rb") as stream:
        assert len(stream.read()) < 500_000
    few = {"resnet18", "vit_tiny_patch16_224", "torchvision:resnet18", "torchvision:mobilenet_v2"}
    networks, failed = index.collect((name, build) for name, build in index.builders() if name in few)
    assert not failed
    assert set(networks) == few
    path = tmp_path / "index.npz"
    write(path, networks)
    again, before = architecture._load(path), architecture._load(None)
    rows = {name: row for row, group in enumerate(before.groups) for name in group}
    assert ("resnet18", "torchvision:resnet18") in again.groups  # equal tensors, one row
    for row, group in enumerate(again.groups):
        assert again.tensors(row) == before.tensors(rows[group[0]]) == networks[group[0]]
        assert len(networks[group[0]]) == again.sizes[row] == before.sizes[rows[group[0]]]


def test_an_architecture_that_cannot_be_built_is_left_out_with_its_reason() -> None:
    def fails() -> torch.nn.Module:
        raise NotImplementedError("no meta kernel\nmore")

    assert index.collect([("odd", fails)]) == ({}, {"odd": "NotImplementedError: no meta kernel"})
