import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.feature_extraction import create_feature_extractor

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.sources import open_backbone
from benchmark.backbones.torchvision_models import card_preprocessing
from benchmark.errors import BackboneError
from tests.backbones.building import backbone_of, pixels

SIZE = 64
PREPROCESSING = Preprocessing(size=(SIZE, SIZE))


def both(reference: nn.Module) -> tuple[Backbone, nn.Module, Tensor, Tensor]:
    """A backbone, the same network untouched, images, and the images normalised by hand."""
    reference.eval()
    images = pixels(2, SIZE)
    mean, std = (torch.tensor(v)[:, None, None] for v in (PREPROCESSING.mean, PREPROCESSING.std))
    return backbone_of(copy.deepcopy(reference), PREPROCESSING), reference, images, (images / 255 - mean) / std


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def logits(backbone: Backbone, images: Tensor) -> Tensor:
    assert backbone.head is not None
    features = backbone.encode(images).global_(backbone.head.representation)
    return torch.nn.functional.linear(features, backbone.head.weight, backbone.head.bias)


STAGES = {
    "resnet18": ["layer1", "layer2", "layer3", "layer4"],
    "mobilenet_v2": ["features.3", "features.6", "features.13", "features.18"],
    "efficientnet_b0": ["features.2", "features.3", "features.5", "features.8"],
    "regnet_x_400mf": [f"trunk_output.block{i}" for i in (1, 2, 3, 4)],
    "shufflenet_v2_x0_5": ["stage2", "stage3", "conv5"],
}


@pytest.mark.parametrize("name", sorted(STAGES))
@torch.no_grad()
def test_gap_is_the_network_without_its_classifier_and_maps_are_its_stages(name: str) -> None:
    torch.manual_seed(0)
    backbone, reference, images, x = both(torchvision.models.get_model(name))
    assert backbone.representations == ("gap", "patch")
    same(logits(backbone, images), reference(x))
    stages = STAGES[name]
    expected = create_feature_extractor(reference, stages)(x)
    features = backbone.encode(images, layers=len(stages))
    for ours, stage in zip(features.grids(len(stages)), stages, strict=True):
        same(ours, expected[stage])
    classifier = "fc" if hasattr(reference, "fc") else "classifier"
    setattr(reference, classifier, nn.Identity())
    same(features.global_("gap"), reference(x))


@torch.no_grad()
def test_densenets_last_map_is_rectified_as_its_forward_does() -> None:
    torch.manual_seed(0)
    net = torchvision.models.DenseNet(growth_rate=4, block_config=(2, 2, 2, 2), num_init_features=8)
    backbone, reference, images, x = both(net)
    same(logits(backbone, images), reference(x))
    features = backbone.encode(images)
    same(features.grid(), reference.features(x).relu())
    same(features.grid().mean((2, 3)), features.global_("gap"))


@torch.no_grad()
def test_convnexts_gap_goes_through_the_norm_before_its_classifier() -> None:
    torch.manual_seed(0)
    settings = [torchvision.models.convnext.CNBlockConfig(*s) for s in [(16, 24, 1), (24, 32, 1), (32, None, 1)]]
    backbone, reference, images, x = both(torchvision.models.ConvNeXt(settings))
    same(logits(backbone, images), reference(x))
    pooled = reference.avgpool(reference.features(x))
    same(backbone.encode(images).global_("gap"), reference.classifier[0](pooled).flatten(1))


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v3_small"])
@torch.no_grad()
def test_learned_layers_before_the_classifier_are_kept_apart_from_gap(name: str) -> None:
    torch.manual_seed(0)
    backbone, reference, images, x = both(torchvision.models.get_model(name))
    assert backbone.representations == ("gap", "pre_logits", "patch")
    same(logits(backbone, images), reference(x))
    same(backbone.encode(images).global_("gap"), reference.features(x).mean((2, 3)))
    same(backbone.encode(images).grid(), reference.features(x))


@torch.no_grad()
def test_swin_gives_the_mean_of_its_normed_patches() -> None:
    torch.manual_seed(0)
    net = torchvision.models.SwinTransformer([4, 4], 24, [1, 1, 2, 1], [2, 2, 4, 4], [2, 2])
    backbone, reference, images, x = both(net)
    assert backbone.representations == ("avg", "patch")
    same(logits(backbone, images), reference(x))
    normed = reference.norm(reference.features(x))
    features = backbone.encode(images, layers=4)
    same(features.grid(), normed.permute(0, 3, 1, 2))
    assert [tuple(m.shape[1:]) for m in features.grids(4)] == [(24, 16, 16), (48, 8, 8), (96, 4, 4), (192, 2, 2)]


@torch.no_grad()
def test_vits_representations_are_those_of_its_tokens() -> None:
    torch.manual_seed(0)
    net = VisionTransformer(image_size=SIZE, patch_size=16, num_layers=5, num_heads=2, hidden_dim=32, mlp_dim=64)
    nn.init.normal_(net.heads.head.weight)
    backbone, reference, images, x = both(net)
    same(logits(backbone, images), reference(x))
    tokens = torch.cat([reference.class_token.expand(2, -1, -1), reference._process_input(x)], 1)
    tokens = tokens + reference.encoder.pos_embedding
    outputs = []
    for layer in reference.encoder.layers:
        tokens = layer(tokens)
        outputs.append(reference.encoder.ln(tokens))
    features = backbone.encode(images, layers=2)
    same(features.global_("cls"), outputs[-1][:, 0])
    same(features.global_("avg"), outputs[-1][:, 1:].mean(1))
    same(features.global_("cls+avg"), torch.cat([outputs[-1][:, 0], outputs[-1][:, 1:].mean(1)], 1))
    same(features.global_("last4"), torch.cat([output[:, 0] for output in outputs[-4:]], 1))
    maps = [output[:, 1:].reshape(2, 4, 4, 32).permute(0, 3, 1, 2) for output in outputs[-2:]]
    same(features.grid(2), torch.cat(maps, 1))


def test_a_classifier_that_is_no_linear_layer_on_a_vector_makes_no_head() -> None:
    """SqueezeNet classifies every place of its map, rectifies, and averages."""
    backbone, *_ = both(torchvision.models.squeezenet1_1())
    assert backbone.head is None and backbone.representations == ("gap", "patch")


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b4", "swin_b", "vit_h_14", "inception_v3"])
def test_the_card_is_torchvisions_own_transform(name: str) -> None:
    entry = torchvision.models.get_model_weights(name).DEFAULT
    preprocessing, theirs = card_preprocessing(entry, name), entry.transforms()
    image = torch.randint(0, 256, (3, 600, 800), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    photo = torchvision.transforms.functional.to_pil_image(image)
    ours = preprocessing.normalise(torch.from_numpy(preprocessing.geometry(photo))[None])
    torch.testing.assert_close(ours[0], theirs(photo), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("torchvision:resnet18", "write torchvision:resnet18/DEFAULT"),
        ("torchvision:resnet19/DEFAULT", "did you mean resnet1"),
        ("torchvision:resnet18/IMAGENET1K_V3", "did you mean IMAGENET1K_V1"),
        ("random:torchvision:resnet18?width=3", "unexpected keyword argument"),
        ("random:torchvision:resnet18?num_classes=3", "the harness sets it"),
    ],
)
def test_names_that_are_wrong_are_one_line(spec: str, says: str) -> None:
    with pytest.raises(BackboneError) as caught:
        open_backbone(spec)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_random_weights_of_torchvision_open_at_the_architectures_size() -> None:
    backbone = open_backbone("random:torchvision:squeezenet1_1")
    assert backbone.arch == "torchvision:squeezenet1_1" and backbone.preprocessing.size == (224, 224)
