from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.backbones.sources import open_backbone
from benchmark.errors import RequestError
from tasks.openmmlab.adapter import HarnessBackbone
from tasks.openmmlab.decay import parameter_groups
from tasks.openmmlab.res5 import HarnessRes5


class Model(nn.Module):
    """A head on an adapter."""

    def __init__(self, spec: str, **options: object) -> None:
        super().__init__()
        self.backbone = HarnessBackbone(open_backbone(spec, preprocess=["size=64"]), **options)
        self.head = nn.Conv2d(self.backbone.channels[-1], 3, 1)


def settings(model: nn.Module, **options: Any) -> dict[str, tuple[float, float]]:
    """Parameter -> (learning rate, weight decay)."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, lr=1.0, **options)
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found)
    return found


@pytest.mark.parametrize("window", [0, 2])
def test_rates_fall_by_maes_rule_from_the_head_to_the_embeddings(window: int) -> None:
    """Six blocks: lr * decay^(7 - i) for block i of 1 to 6, ^7 for embeddings, ^0 for the final norm and the head."""
    found = settings(Model("random:test_vit?depth=6", window=window), weight_decay=0.05, layer_decay=0.5)
    cut = "backbone.encoder.module."
    for name, (rate, decay) in found.items():
        inner = name.removeprefix(cut)
        if inner.startswith("blocks."):
            assert rate == 0.5 ** (7 - (int(inner.split(".")[1]) + 1)), name
        elif inner.startswith(("patch_embed", "pos_embed", "cls_token")):
            assert rate == 0.5**7, name
        else:
            assert rate == 1.0, name
        spared = inner.endswith("bias") or "norm" in inner or "gamma" in inner or inner in ("pos_embed", "cls_token")
        assert decay == (0.0 if spared else 0.05), name
    assert {cut + "pos_embed", cut + "patch_embed.proj.weight", cut + "norm.weight", "head.weight"} <= found.keys()


def test_a_hierarchical_network_decays_block_by_block() -> None:
    found = settings(Model("random:resnet18"), weight_decay=0.1, layer_decay=0.5)
    rates = {name.removeprefix("backbone.encoder.module."): rate for name, (rate, _) in found.items()}
    order = ["conv1", *(f"layer{stage}.{block}.conv1" for stage in range(1, 5) for block in range(2))]
    assert [rates[f"{name}.weight"] for name in order] == [0.5 ** (9 - i) for i in range(9)]
    assert rates["head.weight"] == 1.0


def test_an_encoder_learns_at_its_own_share_of_the_heads_rate() -> None:
    resnet = settings(Model("random:resnet18"), weight_decay=0.1, encoder_rate=0.1)
    assert {(name.startswith("backbone."), rate) for name, (rate, _) in resnet.items()} == {(True, 0.1), (False, 1.0)}
    vit = settings(Model("random:test_vit?depth=6"), weight_decay=0.1, encoder_rate=0.1, layer_decay=0.5)
    rates = {name.removeprefix("backbone.encoder.module."): rate for name, (rate, _) in vit.items()}
    assert rates["blocks.5.attn.qkv.weight"] == pytest.approx(0.05) and rates["pos_embed"] == pytest.approx(0.1 / 2**7)
    assert rates["norm.weight"] == pytest.approx(0.1) and rates["head.weight"] == 1.0


def test_the_stage_on_regions_learns_as_the_encoder_and_the_norm_behind_it_as_heads_do() -> None:
    model = nn.ModuleDict({"stage": HarnessRes5(open_backbone("random:resnet18"))})
    rates = {name: rate for name, (rate, _) in settings(model, weight_decay=0.1, encoder_rate=0.1).items()}
    assert rates.pop("stage.norm.weight") == rates.pop("stage.norm.bias") == 1.0
    assert set(rates.values()) == {0.1}


def test_what_is_spared_the_weight_decay_is_the_protocols_choice() -> None:
    model = Model("random:test_vit")

    def spared(spare: str) -> set[str]:
        found = settings(model, weight_decay=0.1, spare=spare)
        return {name.removeprefix("backbone.encoder.module.") for name, (_, decay) in found.items() if decay == 0}

    assert spared("nothing") == set()
    assert {"blocks.0.norm1.weight", "blocks.0.norm1.bias", "pos_embed"} <= spared("norms")
    assert spared("vectors") - spared("norms") >= {"blocks.0.attn.qkv.bias", "head.bias"}
    assert spared("norms") < spared("vectors")


def test_frozen_parameters_are_in_no_group_and_without_decay_all_rates_are_one() -> None:
    assert settings(Model("random:resnet18", frozen=True), weight_decay=0.1).keys() == {"head.weight", "head.bias"}
    assert {rate for rate, _ in settings(Model("random:resnet18"), weight_decay=0.1).values()} == {1.0}
    assert torch.optim.AdamW(parameter_groups(Model("random:resnet18"), 1e-3, 0.1)).param_groups


def test_a_network_without_an_account_of_its_blocks_is_refused() -> None:
    with pytest.raises(RequestError, match="for a layer decay; found ResNet"):
        settings(Model("random:torchvision:resnet18"), weight_decay=0.0, layer_decay=0.5)
