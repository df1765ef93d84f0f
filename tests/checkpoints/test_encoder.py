"""The encoder is found where each family keeps it, and never guessed where there are several."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmark.checkpoints import layouts
from benchmark.checkpoints.archive import Archive, open_archive
from benchmark.checkpoints.encoder import find_encoder
from benchmark.checkpoints.layout import Layout, Recognise, Rename
from benchmark.errors import CheckpointError


class Net(nn.Module):
    """A small encoder with the usual parts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))


def state(prefix: str = "", seed: int = 0) -> dict[str, Any]:
    torch.manual_seed(seed)
    return {f"{prefix}{name}": value for name, value in Net().state_dict().items()}


def layers(prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}.0.weight": torch.ones(4, 4),
        f"{prefix}.2.weight": torch.ones(2, 4),
        f"{prefix}.2.bias": torch.ones(2),
    }


EXPECTED = list(state())


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    def save(content: Any) -> Archive:
        path = tmp_path / "checkpoint.pth.tar"
        torch.save(content, path)
        return open_archive(path)

    return save


SINGLE: dict[str, tuple[dict[str, Any], str]] = {
    "plain": (state(), ""),
    "timm": (
        {"state_dict": state(), "epoch": 3, "arch": "x", "optimizer": {"state": {0: {"m": torch.ones(3)}}}},
        "state_dict",
    ),
    "MAE": ({"model": state(), "optimizer": {"exp": torch.ones(2)}, "scaler": {}, "args": None}, "model"),
    "data parallel": ({"state_dict": state("module.")}, "state_dict.module"),
    "compiled": ({"model": state("_orig_mod.")}, "model"),
    "compiled inside": ({"model": state("module._orig_mod.")}, "model.module"),
    "fully sharded": (state("_fsdp_wrapped_module."), ""),
    "SimSiam": (
        {"state_dict": {**state("module.encoder."), **layers("module.encoder.fc"), **layers("module.predictor")}},
        "state_dict.module.encoder",
    ),
    "Barlow Twins": ({"model": {**state("module.backbone."), **layers("module.projector")}}, "model.module.backbone"),
    "Lightning": (
        {
            "state_dict": {**state("model.backbone."), **layers("model.head")},
            "pytorch-lightning_version": "2",
            "loops": {},
        },
        "state_dict.model.backbone",
    ),
    "mmcv": ({"state_dict": {**state("backbone."), **layers("neck")}, "meta": {}}, "state_dict.backbone"),
    "SimMIM": ({"model": {**state("encoder."), **layers("decoder")}}, "model.encoder"),
    "CLIP": (
        {
            **state("visual."),
            **layers("transformer.resblocks"),
            "text_projection": torch.ones(2),
            "logit_scale": torch.ones(()),
        },
        "visual",
    ),
    "VISSL": (
        {
            "classy_state_dict": {
                "base_model": {"model": {"trunk": state("_feature_blocks."), "heads": layers("0.clf")}}
            }
        },
        "classy_state_dict.base_model.model.trunk._feature_blocks",
    ),
    "separate parts": ({"backbone": state(), "projector": layers("net"), "optimizers": {}}, "backbone"),
    "student only": ({"student": state("backbone."), "epoch": 1}, "student.backbone"),
    "PixPro counter beside": (
        {"model": {**state("module.encoder."), "module.queue": torch.ones(2), "module.queue_ptr": torch.zeros(1)}},
        "model.module.encoder",
    ),
}


@pytest.mark.parametrize("name", sorted(SINGLE))
@pytest.mark.parametrize("informed", [True, False])
def test_one_encoder_is_found_with_and_without_knowing_the_architecture(name: str, informed: bool, saved: Any) -> None:
    content, key = SINGLE[name]
    encoder = find_encoder(saved(content), expected=EXPECTED if informed else None)
    assert encoder.key == key
    assert not encoder.strays
    for parameter, value in state().items():
        assert torch.equal(encoder.state[parameter], value)


SEVERAL: dict[str, tuple[dict[str, Any], list[str]]] = {
    "DINO": (
        {
            "student": {**state("module.backbone."), **layers("module.head.mlp")},
            "teacher": {**state("backbone.", seed=1), **layers("head.mlp")},
            "optimizer": {},
            "epoch": 1,
        },
        ["student.module.backbone", "teacher.backbone"],
    ),
    "MoCo": (
        {
            "state_dict": {
                **state("module.encoder_q."),
                **layers("module.encoder_q.fc"),
                **state("module.encoder_k.", seed=1),
                "module.queue": torch.ones(2, 3),
                "module.queue_ptr": torch.zeros(1),
            }
        },
        ["state_dict.module.encoder_q", "state_dict.module.encoder_k"],
    ),
    "MoCo v3": (
        {
            "state_dict": {
                **state("module.base_encoder."),
                **state("module.momentum_encoder.", seed=1),
                **layers("module.predictor"),
            }
        },
        ["state_dict.module.base_encoder", "state_dict.module.momentum_encoder"],
    ),
    "EMA beside": ({"state_dict": state(), "state_dict_ema": state(seed=1)}, ["state_dict", "state_dict_ema"]),
    "EMA of DeiT": ({"model": state(), "model_ema": state(seed=1), "epoch": 1}, ["model", "model_ema"]),
    "BYOL": (
        {
            "state_dict": {
                **state("online_encoder."),
                **state("target_encoder.", seed=1),
                **layers("online_projector"),
                **layers("target_projector"),
                **layers("predictor"),
            }
        },
        ["state_dict.online_encoder", "state_dict.target_encoder"],
    ),
    "solo-learn": (
        {"state_dict": {**state("backbone."), **state("momentum_backbone.", seed=1), **layers("projector")}},
        ["state_dict.backbone", "state_dict.momentum_backbone"],
    ),
}


@pytest.mark.parametrize("name", sorted(SEVERAL))
@pytest.mark.parametrize("informed", [True, False])
def test_several_encoders_are_never_guessed_and_each_listed_key_works(name: str, informed: bool, saved: Any) -> None:
    content, keys = SEVERAL[name]
    archive = saved(content)
    expected = EXPECTED if informed else None
    with pytest.raises(CheckpointError, match="choose by") as caught:
        find_encoder(archive, layout="generic", expected=expected)
    for seed, key in enumerate(keys):
        assert f"--key {key} " in str(caught.value)
        encoder = find_encoder(archive, layout="generic", key=key, expected=expected)
        assert torch.equal(encoder.state["conv1.weight"], state(seed=seed)["conv1.weight"])
        others = {drop.reason for drop in (*encoder.dropped, *encoder.ignored)}
        assert any(f"({keys[1 - seed]}), not chosen" in reason for reason in others)


@pytest.mark.parametrize(("key", "seed"), [("encoder_q", 0), ("encoder_k", 1), ("module.encoder_k", 1)])
def test_a_part_of_the_key_is_enough_where_it_is_the_only_one(key: str, seed: int, saved: Any) -> None:
    encoder = find_encoder(saved(SEVERAL["MoCo"][0]), key=key)
    assert torch.equal(encoder.state["conv1.weight"], state(seed=seed)["conv1.weight"])


@pytest.mark.parametrize(("layout", "name", "key"), [
    ("moco", "MoCo", "state_dict.module.encoder_q"),
    ("moco-v3", "MoCo v3", "state_dict.module.base_encoder"),
    ("dino", "DINO", "teacher.backbone"),
])  # fmt: skip
def test_a_layout_chooses_as_the_official_evaluation_does(layout: str, name: str, key: str, saved: Any) -> None:
    archive = saved(SEVERAL[name][0])
    encoder = find_encoder(archive, layout=layout)
    assert (encoder.key, encoder.layout, encoder.trained_without_labels) == (key, layout, True)
    assert not encoder.recognised


@pytest.mark.parametrize(("name", "layout"), [("MoCo", "moco"), ("MoCo v3", "moco-v3")])
def test_a_file_of_one_family_only_is_recognised_and_the_choice_is_said(name: str, layout: str, saved: Any) -> None:
    archive = saved(SEVERAL[name][0])
    encoder = find_encoder(archive)
    assert (encoder.layout, encoder.recognised, encoder.key) == (layout, True, SEVERAL[name][1][0])
    assert encoder.others == (SEVERAL[name][1][1],)
    other = find_encoder(archive, key=SEVERAL[name][1][1])
    assert torch.equal(other.state["conv1.weight"], state(seed=1)["conv1.weight"])


def test_a_student_and_a_teacher_without_more_are_not_guessed(saved: Any) -> None:
    content = SEVERAL["DINO"][0]
    with pytest.raises(CheckpointError, match=r"--layout .*dino"):
        find_encoder(saved(content))
    encoder = find_encoder(saved({**content, "dino_loss": {"center": torch.zeros(1, 3)}}))
    assert (encoder.key, encoder.layout) == ("teacher.backbone", "dino")


def test_a_layout_that_the_file_has_not_is_refused_with_the_one_it_has(saved: Any) -> None:
    archive = saved(SEVERAL["MoCo"][0])
    with pytest.raises(CheckpointError, match="looks like --layout moco"):
        find_encoder(archive, layout="dino")
    with pytest.raises(CheckpointError, match="did you mean moco"):
        find_encoder(archive, layout="mocco")


def test_a_key_that_the_file_has_not_is_refused_with_those_it_has(saved: Any) -> None:
    with pytest.raises(CheckpointError, match=r"did you mean state_dict\.module\.encoder_q"):
        find_encoder(saved(SEVERAL["MoCo"][0]), key="state_dict.module.encoder_s")


def test_a_network_whose_own_first_module_is_called_model_keeps_it(saved: Any) -> None:
    archive = saved({"state_dict": state("model.")})
    assert find_encoder(archive, expected=EXPECTED).prefix == "model."
    kept = find_encoder(archive, expected=[f"model.{name}" for name in EXPECTED])
    assert kept.prefix == ""
    assert "model.conv1.weight" in kept.state


def test_a_module_called_encoder_beside_other_parts_of_the_network_is_not_entered(saved: Any) -> None:
    """torchvision's ViT: class_token, conv_proj, encoder.*, heads.*"""
    content = {
        "class_token": torch.ones(1),
        "conv_proj.weight": torch.ones(2, 2),
        **state("encoder."),
        **layers("heads"),
    }
    encoder = find_encoder(saved(content))
    assert encoder.prefix == ""
    assert len(encoder.state) == len(content)


def test_an_unexplained_part_beside_the_encoder_is_a_stray_until_the_user_chooses(saved: Any) -> None:
    content = {**state("module.trunk9."), "module.mystery.weight": torch.ones(2)}
    archive = saved(content)
    assert find_encoder(archive, expected=EXPECTED).strays == ("module.mystery.weight",)
    chosen = find_encoder(archive, key="module.trunk9", expected=EXPECTED)
    assert not chosen.strays
    assert [drop.key for drop in chosen.dropped] == ["module.mystery.weight"]


def test_every_entry_that_was_passed_by_is_listed_with_what_it_is(saved: Any) -> None:
    content = {
        "state_dict": state(),
        "epoch": 3,
        "optimizer": {"a": torch.ones(2)},
        "best_acc1": 1.0,
        "odd": [1],
        "x": torch.ones(3),
    }
    ignored = {drop.key: drop.reason for drop in find_encoder(saved(content)).ignored}
    assert ignored == {
        "epoch": "training progress",
        "optimizer": "optimiser state",
        "best_acc1": "training metric",
        "odd": "list of 1",
        "x": "a tensor (3,)",
    }


def test_values_that_are_no_tensors_are_listed_and_files_without_tensors_refused(saved: Any) -> None:
    encoder = find_encoder(saved({**state(), "epoch": 3}))
    assert [(drop.key, drop.reason) for drop in encoder.dropped] == [("epoch", "not a tensor (int)")]
    for content in ({}, {"epoch": 3}, [torch.ones(2)], torch.ones(2), 5):
        with pytest.raises(CheckpointError, match="named tensors"):
            find_encoder(saved(content))


def test_two_names_that_become_one_are_refused(saved: Any) -> None:
    with pytest.raises(CheckpointError, match="twice"):
        find_encoder(saved({**state(), **state("_orig_mod.")}))


class _Points:
    """Stands for the entry points of an installed package."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, group: str) -> list[Any]:
        assert group == "transferbench.layouts"
        outer = self

        class Point(EntryPoint):
            def load(self) -> Any:
                return outer.value

        return [Point("theirs", "package:layouts", group)]


def test_other_packages_add_layouts_with_renames(saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Layout(
        name="theirs", summary="s", source="s", recognise=Recognise(entries=("^net$",)), encoder=("net",),
        renames=(Rename(pattern=r"^stem\.", replace="conv1."),),
    )  # fmt: skip
    monkeypatch.setattr(layouts, "known", layouts.known.__wrapped__)  # the cached answer is without them
    monkeypatch.setattr(layouts, "entry_points", _Points([theirs]))
    content = {"net": {name.replace("conv1.", "stem."): value for name, value in state().items()}, "ema": state()}
    encoder = find_encoder(saved(content), layout="theirs", expected=EXPECTED)
    assert set(encoder.state) == set(EXPECTED)
    monkeypatch.setattr(layouts, "entry_points", _Points({"name": "moco", "summary": "", "source": ""}))
    with pytest.raises(CheckpointError, match="different names"):
        layouts.known()
    monkeypatch.setattr(layouts, "entry_points", _Points([{"name": "odd", "sumary": ""}]))
    with pytest.raises(CheckpointError, match="package:layouts"):
        layouts.known()


def test_the_shipped_layouts_are_well_formed() -> None:
    assert {"moco", "moco-v3", "dino"} <= set(layouts.known())
    assert all(layout.summary and layout.source for layout in layouts.known().values())


@pytest.mark.parametrize("second", ["encoder_k", "momentum", "model_t", "alignment", "target_network.encoder"])
def test_whoever_chooses_one_of_two_encoders_has_the_other_named_whatever_it_is_called(second: str, saved: Any) -> None:
    """One rule for MoCo's key encoder, PixPro's, W-MSE's and BYOL's targets: an equal set of tensors is an encoder."""
    copy = {**state(f"module.{second}.", seed=1), **layers(f"module.{second.partition('.')[0]}.own_head")}
    content = {"model": {**state("module.encoder."), **copy, **layers("module.projector")}}
    encoder = find_encoder(saved(content), key="model.module.encoder")
    assert torch.equal(encoder.state["conv1.weight"], state()["conv1.weight"])
    reasons = {drop.key: drop.reason for drop in encoder.dropped}
    place = f"model.module.{second.partition('.')[0]}"
    assert reasons[f"module.{second}.conv1.weight"].startswith(f"another encoder of the file ({place}")
    assert all("not chosen" in reasons[name] for name in copy)
    assert any(other.startswith(place) for other in encoder.others)
    other = find_encoder(saved(content), key=f"model.module.{second}")
    assert torch.equal(other.state["conv1.weight"], state(seed=1)["conv1.weight"])


def test_a_second_copy_that_nobody_chose_between_is_no_explanation(saved: Any) -> None:
    content = {"model": {**state("module.encoder."), **state("module.mystery.", seed=1)}}
    try:
        encoder = find_encoder(saved(content), expected=set(EXPECTED))
    except CheckpointError as error:
        assert "one encoder" in str(error)  # asked for, never guessed
    else:
        pytest.fail(f"{encoder.key} was guessed")
