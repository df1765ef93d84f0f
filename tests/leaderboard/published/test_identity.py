"""A measured model stands for released weights only where that is certain."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torchvision

from benchmark.backbones.sources import open_backbone
from benchmark.errors import RequestError, ResultError, SuiteError
from benchmark.runner.models import model_record
from benchmark.suites.cards import ModelCard
from leaderboard.published.identity import SHIPPED, Alias, identify, read_aliases
from leaderboard.published.match import beside
from leaderboard.published.rows import weights_names
from tests.leaderboard.published.examples import entry, result


def test_unknown_weights_come_with_the_nearest() -> None:
    found = identify(result(weights="dino_vit16s").model)
    assert found.weights is None
    assert "dino_vit16s" in found.reason and "dino_vits16" in found.reason
    assert beside([entry(weights="dino_vit16s")]) == []


@pytest.mark.parametrize(
    ("spec", "weights"),
    [
        ("timm:resnet50.tv_in1k", "timm_resnet50.tv_in1k"),
        ("openclip:ViT-B-16/openai", "open_clip_ViT-B-16_openai"),
        ("timm:resnet50.tv_in1k?img_size=224", "timm_resnet50.tv_in1k"),
        ("torchvision:resnet50/IMAGENET1K_V1", "timm_resnet50.tv_in1k"),
        ("timm:vit_small_patch14_dinov2.lvd142m?img_size=224", "dinov2_vits14"),
        ("timm:vit_base_patch16_224.mae", "mae_pretrain_vit_base"),
        ("timm:resnet50", None),
        ("timm:resnet50.tv_in1k?in_chans=3", None),
        ("resnet50.tv_in1k", None),
        ("hf:timm/resnet50.tv_in1k", None),
        ("mae_pretrain_vit_base.pth", None),
        ("torchvision:resnet50/DEFAULT", None),
    ],
)
def test_a_spec_names_weights_only_where_that_is_certain(spec: str, weights: str | None) -> None:
    found = identify(result(weights=None, model={"spec": spec}).model)
    assert found.weights == weights
    assert bool(found.reason) == (weights is None)


def test_a_card_goes_before_the_spec() -> None:
    found = identify(result(weights="dino_vits16", model={"spec": "timm:resnet50.tv_in1k"}).model)
    assert found.weights == "dino_vits16"


def test_what_a_card_says_of_its_weights_reaches_the_result() -> None:
    card = ModelCard(name="m", checkpoint="random:resnet18", weights="dino_vits16")
    backbone = open_backbone(card.checkpoint)
    assert identify(model_record(card, backbone)).weights == "dino_vits16"


@pytest.mark.parametrize("alias", read_aliases(SHIPPED), ids=lambda alias: alias.spec)
def test_the_hub_itself_says_that_an_alias_is_of_the_authors_file(alias: Alias) -> None:
    hub, _, name = alias.spec.partition(":")
    if hub == "timm":
        url = timm.get_pretrained_cfg(name).url
        assert f"timm_{name}" not in weights_names(), "the table has it under two names"
    else:
        model, _, tag = name.partition("/")
        url = torchvision.models.get_model_weights(model)[tag].url
        assert timm.get_pretrained_cfg(alias.weights.removeprefix("timm_")).url == url
    assert url.rsplit("/", 1)[1] == alias.file
    assert alias.weights in weights_names()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("aliases: [{spec: 'timm:a', weights: dino_vit16s, file: f}]", ResultError, "dino_vit16s.*dino_vits16"),
        (
            "aliases: [{spec: a, weights: dino_vits16, file: f}, {spec: a, weights: dino_vits8, file: f}]",
            ResultError,
            "a twice",
        ),
        ("aliases: [{spec: a, weights: dino_vits16}]", SuiteError, "file"),
    ],
)
def test_a_damaged_list_of_aliases_is_named(tmp_path: Path, text: str, error: type[RequestError], message: str) -> None:
    path = tmp_path / "weights.yaml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_aliases(path)
