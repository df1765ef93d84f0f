from pathlib import Path

import pytest
import torch

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError
from tests.backbones import factories
from tests.backbones.building import PLAIN, backbone_of, pixels

HERE = "python:tests.backbones.factories"
SMALL = ["size=32", "mean=0", "std=1", "crop_pct=1"]


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_enters_the_classifier_is_gap_and_the_stages_are_found() -> None:
    torch.manual_seed(0)
    reference = factories.MobileNetV1Quarter(7).eval()
    copy = factories.MobileNetV1Quarter(7)
    copy.load_state_dict(reference.state_dict())
    backbone = backbone_of(copy, Preprocessing(size=(64, 64), mean=(0, 0, 0), std=(1, 1, 1)))
    images = pixels(2, 64)
    x = images / 255
    first = reference.stage1(x)
    second = reference.stage2(first)
    third = reference.stage3(second)
    features = backbone.encode(images, layers=3)
    for ours, theirs in zip(features.grids(3), (first, second, third), strict=True):
        same(ours, theirs)
    same(features.global_("gap"), third.mean((2, 3)))
    assert backbone.head is not None and backbone.head.representation == "gap"
    same(torch.nn.functional.linear(features.global_("gap"), backbone.head.weight, backbone.head.bias), reference(x))


@pytest.mark.parametrize("prefix", [0, 1, 3])
@torch.no_grad()
def test_a_module_that_returns_tokens_says_how_many_of_them_lead(prefix: int) -> None:
    torch.manual_seed(0)
    reference = factories.Tokens(prefix).eval()
    backbone, images = backbone_of(reference, PLAIN), pixels(2, 32)
    tokens = reference(images / 255)
    features = backbone.encode(images)
    same(features.global_("avg"), tokens[:, prefix:].mean(1))
    same(features.grid(), reference.embed(images / 255))
    assert ("cls" in backbone.representations) == (prefix > 0)
    if prefix:
        same(features.global_("cls"), tokens[:, 0])
        same(features.global_("cls+avg"), torch.cat([tokens[:, 0], tokens[:, prefix:].mean(1)], 1))


@torch.no_grad()
def test_a_module_that_returns_a_map_or_a_vector_is_a_backbone() -> None:
    images = pixels(2, 32)
    for what in ("map", "vector"):
        reference = factories.Returns(what).eval()
        features = backbone_of(reference, PLAIN).encode(images)
        expected = reference(images / 255)
        same(features.global_("gap"), expected.mean((2, 3)) if what == "map" else expected)
        if what == "map":
            same(features.grid(), expected)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (f"{HERE}:returns?what=dict", "returns dict"),
        (f"{HERE}:returns?what=logit", "returns (1,)"),
        (f"{HERE}:tokens?patches=15", "num_prefix_tokens says"),
        (f"{HERE}:two_calls", "one call of 'fc' per image; found 2 calls"),
        (f"{HERE}:fails", "ValueError: no weights here"),
        (f"{HERE}:no_module", "found str"),
        (f"{HERE}:stagess", "did you mean stages"),
        (f"{HERE}:stages?clases=3", "unexpected keyword argument 'clases'"),
        (HERE, "python:MODULE:FACTORY"),
        ("python:no.such.module:f", "No module named"),
        ("python:no/such/file.py:f", "nothing at no/such/file.py"),
    ],
)
def test_factories_that_give_no_backbone_are_one_line(spec: str, says: str) -> None:
    with pytest.raises(BackboneError) as caught:
        open_backbone(spec, preprocess=SMALL)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_factory_in_a_file_opens_and_no_folder_is_part_of_its_name(tmp_path: Path) -> None:
    source = Path(factories.__file__).read_text()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "nets.py").write_text(source)
    specs = [f"random:python:{tmp_path / folder / 'nets.py'}:stages?classes=7" for folder in ("one", "two")]
    first, second = (open_backbone(spec, preprocess=SMALL) for spec in specs)
    assert first.arch == second.arch == "python:nets.py:stages?classes=7"
    assert first.weights_hash == second.weights_hash


def test_a_file_that_does_not_import_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import no_such_package\n")
    with pytest.raises(BackboneError, match="no_such_package"):
        open_backbone(f"python:{tmp_path / 'bad.py'}:f")
