import pytest
import timm
import torch
from torch import nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.features import Features
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.sources import open_backbone
from benchmark.backbones.timm_models import build_timm, card_preprocessing, close, input_size
from benchmark.errors import BackboneError
from tests.backbones.building import backbone_of, pixels


def both(name: str, **options: object) -> tuple[Backbone, nn.Module, torch.Tensor, torch.Tensor]:
    """A backbone, the same network untouched, images, and the same images normalised as the network wants them."""
    torch.manual_seed(0)
    reference = timm.create_model(name, **options).eval()
    ours = timm.create_model(name, **options)
    for parameter in reference.parameters():  # else LayerScale, biases and position embeddings are near zero
        if parameter.ndim <= 3:
            nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else nn.init.uniform_(parameter, 0.5, 1.5)
    ours.load_state_dict(reference.state_dict())
    preprocessing = Preprocessing(size=input_size(reference, options))
    images = pixels(2, preprocessing.size[0])
    mean, std = (torch.tensor(v)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
    return backbone_of(ours, preprocessing), reference, images, (images / 255 - mean) / std


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * max(1.0, float(b.abs().max())))


@torch.no_grad()
def test_a_vits_representations_are_those_of_its_tokens() -> None:
    backbone, reference, images, x = both("test_vit")
    assert backbone.representations == ("cls", "avg", "cls+avg", "last4", "patch")
    assert backbone.default_representation == "cls" and "class token" in backbone.default_reason
    features, tokens = backbone.encode(images), reference.forward_features(x)
    same(features.global_("cls"), tokens[:, 0])
    same(features.global_("avg"), tokens[:, 1:].mean(1))
    same(features.global_("cls+avg"), torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1))
    same(features.grid(), tokens[:, 1:].reshape(2, 10, 10, 64).permute(0, 3, 1, 2))


@torch.no_grad()
def test_last4_is_dinos_four_normed_class_tokens_first_to_last() -> None:
    backbone, reference, images, x = both("test_vit")
    tokens = reference.norm_pre(reference.patch_drop(reference._pos_embed(reference.patch_embed(x))))
    outputs = []
    for block in reference.blocks:
        tokens = block(tokens)
        outputs.append(reference.norm(tokens))
    features = backbone.encode(images, layers=4)
    same(features.global_("last4"), torch.cat([output[:, 0] for output in outputs[-4:]], dim=1))
    maps = [output[:, 1:].transpose(1, 2).reshape(2, 64, 10, 10) for output in outputs[-4:]]
    same(features.grid(4), torch.cat(maps, dim=1))
    same(
        backbone.encode(images, ["cls"], layers=(2,)).grid((2,)),
        outputs[2][:, 1:].transpose(1, 2).reshape(2, 64, 10, 10),
    )


@torch.no_grad()
def test_registers_are_in_no_average_and_no_map() -> None:
    options = {"class_token": True, "reg_tokens": 3, "img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 48}
    backbone, reference, images, x = both("vit_tiny_patch16_224", **options, num_heads=4)
    tokens = reference.forward_features(x)
    assert tokens.shape == (2, 1 + 3 + 16, 48)
    features = backbone.encode(images)
    same(features.global_("cls"), tokens[:, 0])
    same(features.global_("avg"), tokens[:, 4:].mean(1))
    same(features.grid().flatten(2).transpose(1, 2), tokens[:, 4:])
    assert not close(features.global_("avg"), tokens[:, 1:].mean(1))


@torch.no_grad()
def test_a_norm_behind_the_pooling_is_applied_there_and_the_bare_class_token_is_not_offered() -> None:
    """BEiT and fine-tuned MAE: the final norm works on the mean, the class token never had one."""
    options = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 48, "num_heads": 4, "num_classes": 7}
    for name, extra in [("vit_tiny_patch16_224", {"global_pool": "avg"}), ("beit_base_patch16_224", {})]:
        backbone, reference, images, x = both(name, **options, **extra)
        assert backbone.representations == ("avg", "patch") and backbone.default_representation == "avg"
        same(
            backbone.encode(images).global_("avg"),
            reference.forward_head(reference.forward_features(x), pre_logits=True),
        )


@torch.no_grad()
def test_attention_pooling_is_the_default_of_encoders_trained_with_it() -> None:
    backbone, reference, images, x = both("test_vit3")
    assert backbone.default_representation == "pre_logits" and "attention" in backbone.default_reason
    tokens = reference.forward_features(x)
    features = backbone.encode(images)
    same(features.global_("pre_logits"), reference.forward_head(tokens, pre_logits=True))
    same(features.global_("avg"), tokens[:, reference.num_prefix_tokens :].mean(1))


CNNS = [
    "test_resnet",
    "test_efficientnet",
    "test_convnext",
    "test_nfnet",
    "test_byobnet",
    "test_maxvit",
    "mobilenetv2_035",
]


@pytest.mark.parametrize("name", CNNS)
@torch.no_grad()
def test_gap_is_what_enters_a_cnns_classifier(name: str) -> None:
    backbone, reference, images, x = both(name)
    assert backbone.representations == ("gap", "patch") and backbone.default_representation == "gap"
    final = reference.forward_features(x)
    features = backbone.encode(images)
    same(features.global_("gap"), reference.forward_head(final, pre_logits=True))
    same(features.grid(), final)


@torch.no_grad()
def test_learned_layers_behind_the_pooling_are_kept_apart_from_gap() -> None:
    backbone, reference, images, x = both("mobilenetv3_small_050")
    final = reference.forward_features(x)
    features = backbone.encode(images)
    same(features.global_("gap"), final.mean((2, 3)))
    same(features.global_("pre_logits"), reference.forward_head(final, pre_logits=True))
    assert backbone.head is not None and backbone.head.representation == "pre_logits"


@torch.no_grad()
def test_stages_of_a_cnn_are_timms_feature_pyramid() -> None:
    backbone, _, images, x = both("test_resnet")
    torch.manual_seed(0)
    backbone.module.to(memory_format=torch.contiguous_format)
    pyramid = timm.create_model("test_resnet", features_only=True).eval()
    pyramid.load_state_dict(backbone.module.state_dict())
    maps = backbone.encode(images, layers=backbone.depth).grids(backbone.depth)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 160 // r, 160 // r)
        for c, r in zip(pyramid.feature_info.channels(), pyramid.feature_info.reduction(), strict=True)
    ]
    for ours, theirs in zip(maps, pyramid(x), strict=True):
        same(ours, theirs)


@torch.no_grad()
def test_swin_in_nhwc_looks_like_any_other_from_outside() -> None:
    options = {"img_size": 64, "embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (2, 2, 4, 4), "window_size": 2}
    backbone, reference, images, x = both("swin_tiny_patch4_window7_224", **options)
    final = reference.forward_features(x)
    assert final.shape == (2, 2, 2, 192) and backbone.representations == ("avg", "patch")
    features = backbone.encode(images, layers=4)
    same(features.global_("avg"), final.mean((1, 2)))
    same(features.grid(), final.permute(0, 3, 1, 2))
    assert [tuple(m.shape[1:]) for m in features.grids(4)] == [(24, 16, 16), (48, 8, 8), (96, 4, 4), (192, 2, 2)]


@pytest.mark.parametrize(
    "name", ["test_vit", "test_vit2", "test_vit3", "test_mambaout", "mobilenetv3_small_050", *CNNS]
)
@torch.no_grad()
def test_the_head_on_its_representation_gives_the_networks_logits(name: str) -> None:
    backbone, reference, images, x = both(name)
    assert backbone.head is not None
    features = backbone.encode(images).global_(backbone.head.representation)
    same(torch.nn.functional.linear(features, backbone.head.weight, backbone.head.bias), reference(x))


def test_two_classifiers_make_no_head() -> None:
    """The distilled DeiT averages two of them, on two tokens."""
    options = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 48, "num_heads": 4}
    backbone, reference, images, x = both("deit_tiny_distilled_patch16_224", **options)
    assert backbone.head is None
    with torch.no_grad():
        same(backbone.encode(images).global_("cls"), reference.forward_features(x)[:, 0])
        same(backbone.encode(images).global_("avg"), reference.forward_features(x)[:, 2:].mean(1))


@pytest.mark.parametrize(
    ("name", "representations"),
    [
        ("xcit_nano_12_p16_224", ("cls", "avg", "cls+avg", "patch")),
        ("pit_ti_224", ("pre_logits",)),
        ("crossvit_tiny_240", ("pre_logits",)),
    ],
)
def test_encoders_out_of_the_ordinary_offer_what_can_be_told_apart(name: str, representations: tuple[str, ...]) -> None:
    backbone, reference, images, x = both(name)
    assert backbone.representations == representations
    pre = "cls" if "cls" in representations else "pre_logits"
    with torch.no_grad():
        expected = reference.forward_head(reference.forward_features(x), pre_logits=True)
    same(backbone.encode(images[:2]).global_(pre), expected)
    if representations == ("pre_logits",):
        with pytest.raises(BackboneError, match="a backbone that has 0"):
            backbone.encode(images, layers=(0,))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("random:resnet1", "did you mean resnet18"),
        ("random:resnet18.nothing", "a tag of timm's resnet18"),
        ("random:mobilenetv2_100?pad_typ=same", "did you mean pad_type"),
        ("random:resnet18?pretrained=true", "the harness sets it"),
        ("random:resnet18?features_only=true", "the harness sets it"),
        ("random:test_vit?depth=many", "arguments of test_vit"),
        ("random:test_vit?depth", "write key=value"),
        ("random:test_vit?depth=2&depth=3", "given twice"),
        ("random:vit_tiny_patch16_224?global_pool=", "write key=value"),
    ],
)
def test_names_and_arguments_that_are_wrong_are_one_line(spec: str, says: str) -> None:
    with pytest.raises(BackboneError) as caught:
        open_backbone(spec)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_size_that_the_network_cannot_take_is_one_line() -> None:
    small = "random:vit_tiny_patch16_224?depth=4&img_size=96"
    assert open_backbone(small).preprocessing.size == (96, 96)
    with pytest.raises(BackboneError, match=r"to take images of 192x192.*ARCH\?img_size"):
        open_backbone(small, preprocess=["size=192"])


def test_timms_card_is_the_preprocessing_of_timms_weights() -> None:
    module = build_timm("vit_tiny_patch16_224", {"depth": 1})
    card = card_preprocessing(module, "vit_tiny_patch16_224", {}, overridden=False)
    assert (card.size, card.crop_pct, card.interpolation) == ((224, 224), 0.9, "bicubic")
    assert card.mean == card.std == (0.5, 0.5, 0.5) and "timm pretrained_cfg" in card.source


def test_features_of_parts_are_the_features_of_the_whole() -> None:
    backbone, _, images, _ = both("test_efficientnet")
    parts = Features.cat([backbone.encode(images[:1]), backbone.encode(images[1:])])
    same(parts.global_("gap"), backbone.encode(images).global_("gap"))
    assert len(parts) == 2


@pytest.mark.parametrize(
    ("arch", "published"), [("resnet50", 4.09), ("vit_small_patch16_224", 4.61), ("mobilenetv2_100", 0.30)]
)
def test_multiply_adds_are_those_that_papers_quote(arch: str, published: float) -> None:
    """He et al. 2016 and torchvision's table; Touvron et al. 2021, table 5; Sandler et al. 2018, table 4."""
    assert open_backbone(f"random:{arch}").macs() / 1e9 == pytest.approx(published, rel=0.02)
