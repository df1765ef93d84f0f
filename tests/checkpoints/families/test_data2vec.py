"""data2vec 2.0 and fine-tuned data2vec: files rebuilt from small networks in the form in which fairseq and BEiT's code
save them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.vit_networks import post_norm_vit
from benchmark.checkpoints.layouts import get
from benchmark.errors import CheckpointError
from tests.checkpoints.families.test_masked import (
    TABLE,
    Opener,
    State,
    assert_features,
    beit,
    headless,
    opened,
    scramble,
)

__all__ = ["opened"]  # the fixture
OWN = "modality_encoders.IMAGE."
SMALL: dict[str, Any] = {"img_size": 32, "embed_dim": 768, "num_heads": 12}


def fairseq(state: State, apart: int, root: str = "") -> dict[str, Any]:
    """A network's tensors in fairseq's names, the first `apart` blocks in the encoder of the images."""
    places = {"cls_token": "extra_tokens", "pos_embed": "fixed_positional_encoder.positions"}
    made: dict[str, Any] = {}
    for name, value in state.items():
        block = re.match(r"blocks\.(\d+)\.(.*)", name)
        if block and int(block[1]) < apart:
            new = f"{OWN}context_encoder.{name}"
        elif block:
            new = f"blocks.{int(block[1]) - apart}.{block[2]}"
        elif name in places:
            new = OWN + places[name]
        else:
            new = name.replace("patch_embed.", f"{OWN}local_encoder.")
            new = new.replace("norm_pre.", f"{OWN}context_encoder.norm.")
        made[root + new if not new.startswith(("fc_norm.", "head.")) else new] = value
    return made


def written(model: dict[str, Any]) -> dict[str, Any]:
    return {
        "args": None,
        "cfg": {"model": {"_name": "data2vec_multi"}},
        "model": model,
        "optimizer_history": [{"num_updates": 5}],
        "extra_state": {"epoch": 1},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return scramble(post_norm_vit(depth=3, **SMALL))


@pytest.mark.parametrize("apart", [2, 0])
def test_the_trained_network_is_taken_and_not_its_average(apart: int, network: nn.Module, opened: Opener) -> None:
    model = fairseq(headless(network), apart)
    average: dict[str, Tensor] = {name: value + 1 for name, value in model.items()}
    decoder = {f"{OWN}decoder.proj.weight": torch.randn(4, 4), f"{OWN}decoder.blocks.0.0.weight": torch.randn(4, 4)}
    backbone = opened(written({**model, **decoder, "_ema": average}))
    assert backbone.origin.layout == ("data2vec2" if apart else "data2vec2-large")
    assert backbone.default_representation == "avg" and backbone.head is None
    assert backbone.origin.dropped[f"{OWN}decoder.proj.weight"] == "decoder"
    assert_features(backbone, network)


@pytest.mark.parametrize("apart", [2, 0])
def test_a_fine_tuned_network_keeps_its_classifier(apart: int, opened: Opener) -> None:
    network = scramble(post_norm_vit(depth=3, pooled_norm=True, **SMALL))
    backbone = opened(written(fairseq(dict(network.state_dict()), apart, root="model.")))
    assert backbone.origin.layout == ("data2vec2-finetuned" if apart else "data2vec2-large-finetuned")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert backbone.head is not None and backbone.head.bias is not None
    pooled = backbone.encode(images).global_(backbone.head.representation)
    with torch.no_grad():
        scores = network(backbone.preprocessing.normalise(images))
    found = pooled @ backbone.head.weight.T + backbone.head.bias
    assert (found - scores).abs().max() <= 1e-5 * scores.abs().max()


def test_norms_behind_the_sums_are_another_network(network: nn.Module, opened: Opener) -> None:
    usual = timm.create_model("vit_base_patch16_224", depth=3, pre_norm=True, final_norm=False, **SMALL,
                              no_embed_class=True)  # fmt: skip
    state = {name: value for name, value in network.state_dict().items() if name != "patch_embed.proj.bias"}
    usual.load_state_dict(state, strict=True)
    with pytest.raises(AssertionError):
        assert_features(opened(written(fairseq(headless(network), 2))), usual.eval())


def test_a_missing_block_and_an_unknown_width_are_refused(network: nn.Module, opened: Opener) -> None:
    model = fairseq(headless(network), 0)
    holed = {name: value for name, value in model.items() if not name.startswith("blocks.1.")}
    with pytest.raises(CheckpointError, match=r"no blocks\.1"):
        opened(written(holed))
    narrow = scramble(post_norm_vit(depth=1, img_size=32, embed_dim=96, num_heads=3))
    with pytest.raises(CheckpointError, match="a width among 768"):
        opened(written(fairseq(headless(narrow), 0)))


def test_fine_tuned_data2vec_has_one_table_and_the_statistics_of_its_fine_tuning(opened: Opener) -> None:
    network = beit(use_rel_pos_bias=True)
    table = network.blocks[0].attn.get_parameter(TABLE).detach()
    for block in network.blocks:
        block.attn.get_parameter(TABLE).data = table
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(("_index", TABLE))}
    shared = {f"rel_pos_bias.{TABLE}": table, "rel_pos_bias.relative_position_index": torch.zeros(10, 10).long()}
    backbone = opened({"module": {**state, **shared}, "optimizer": None, "global_steps": 5, "epoch": 99})
    assert backbone.origin.layout == "data2vec-vision-finetuned"
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == ((0.5,) * 3, (0.5,) * 3)
    assert get("data2vec-vision").preprocessing["mean"] == [0.485, 0.456, 0.406]  # other than those of pretraining
    assert backbone.head is not None
    assert_features(backbone, network)
