import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms as T

from benchmark.backbones import hub
from benchmark.backbones.inspection import inspect_checkpoint, render
from benchmark.backbones.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError, CheckpointError, RequestError
from tests.backbones.building import pixels


@pytest.fixture(scope="module")
def vit() -> torch.nn.Module:
    torch.manual_seed(3)
    return timm.create_model("test_vit").eval()


@pytest.fixture
def file(vit: torch.nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "vit.pth"
    torch.save(vit.state_dict(), path)
    return path


def test_a_file_gives_the_features_of_the_network_it_was_saved_from(vit: torch.nn.Module, file: Path) -> None:
    backbone = open_backbone(str(file), arch="test_vit", preprocess=["mean=0.5", "std=0.5"])
    images = pixels(2, 160)
    with torch.no_grad():
        tokens = vit.forward_features((images / 255 - 0.5) / 0.5)
    features = backbone.encode(images)
    torch.testing.assert_close(features.global_("cls"), tokens[:, 0], rtol=1e-4, atol=1e-5)
    assert backbone.head is not None and torch.equal(backbone.head.weight, vit.head.weight)
    assert backbone.params == sum(p.numel() for n, p in vit.named_parameters() if not n.startswith("head."))


def test_the_statistics_of_timms_card_are_not_those_of_a_file(file: Path) -> None:
    """The card of test_vit says 0.5; the file says nothing."""
    preprocessing = open_backbone(str(file), arch="test_vit").preprocessing
    assert preprocessing.mean == IMAGENET_MEAN and preprocessing.std == IMAGENET_STD
    assert preprocessing.size == (160, 160) and preprocessing.source.startswith("assumed")


def test_weights_hash_is_that_of_the_encoder_however_it_is_wrapped(
    vit: torch.nn.Module, file: Path, tmp_path: Path
) -> None:
    state = vit.state_dict()
    wrapped, other, headless = tmp_path / "w.tar", tmp_path / "s.safetensors", tmp_path / "h.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}, "optimizer": {}}, wrapped)
    save_file(state, other)
    torch.save({k: v for k, v in state.items() if not k.startswith("head.")}, headless)
    backbones = [open_backbone(str(path), arch="test_vit") for path in (file, wrapped, other, headless)]
    assert len({backbone.weights_hash for backbone in backbones}) == 1
    assert len({backbone.origin.sha256 for backbone in backbones}) == 4
    assert backbones[3].head is None and backbones[0].head is not None
    assert backbones[1].origin.key == "state_dict.module"
    tagged = open_backbone(str(file), arch="test_vit.r160_in1k")
    assert tagged.weights_hash == backbones[0].weights_hash


def test_a_file_whose_shapes_do_not_say_the_architecture_is_refused_with_the_candidates(file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"number of heads.*num_heads=1 or num_heads=2.*--arch"):
        open_backbone(str(file))


def test_a_wrong_architecture_is_refused_and_no_half_loaded_backbone_exists(file: Path) -> None:
    for wrong in ("test_resnet", "test_vit2", "test_vit?depth=4", "test_vit?embed_dim=32"):
        with pytest.raises(CheckpointError):
            open_backbone(str(file), arch=wrong)


def test_weights_that_are_not_finite_are_refused(vit: torch.nn.Module, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in vit.state_dict().items()}
    state["blocks.2.mlp.fc1.weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"blocks\.2\.mlp\.fc1\.weight"):
        open_backbone(str(tmp_path / "nan.pth"), arch="test_vit")


@pytest.mark.parametrize(
    ("spec", "arguments", "says"),
    [
        ("tim:resnet18", {}, "did you mean timm"),
        ("timm:", {}, "a name after timm:"),
        ("nothing.pth", {"arch": "resnet18"}, "nothing there"),
        (".", {"arch": "resnet18"}, "folder"),
        ("random:test_vit", {"arch": "resnet18"}, "--arch beside a weights file"),
        ("random:test_vit", {"key": "model"}, "--key beside a weights file"),
        ("random:test_vit?seed=x", {}, "a seed of 0 or more"),
        ("openclip:ViT-B-32", {}, "openclip:ARCH/TAG"),
        ("openclip:ViT-X-1/openai", {}, "a model of OpenCLIP that timm has too"),
        ("openclip:ViT-B-32/no_such_tag", {}, "laion400m_e32"),
        ("hf:not a name", {}, "hf:ORG/NAME"),
    ],
)
def test_specs_that_name_nothing_are_one_line(spec: str, arguments: dict[str, str], says: str) -> None:
    with pytest.raises(RequestError) as caught:
        open_backbone(spec, **arguments)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_random_weights_depend_on_the_seed_and_leave_the_global_one_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    hashes = [open_backbone(f"random:test_vit?{o}").weights_hash for o in ("img_size=96", "img_size=96&seed=0")]
    other = open_backbone("random:test_vit?seed=1&img_size=96")
    assert torch.equal(torch.rand(1), expected)
    assert hashes[0] == hashes[1] != other.weights_hash
    assert other.arch == "test_vit?img_size=96" and other.preprocessing.size == (96, 96) and other.head is None


def test_without_a_network_the_hub_is_one_line_and_quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for spec in ("timm:test_vit.r160_in1k", "hf:timm/no_such_model_at_all"):
        with pytest.raises(BackboneError, match="in the local cache, or a network"):
            open_backbone(spec)


def test_a_repository_of_transformers_is_read_as_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def snapshot(_: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(tmp_path)

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no such kind"}))
    monkeypatch.setattr("benchmark.backbones.sources.hf_hub_download", lambda *_: str(tmp_path / "config.json"))
    monkeypatch.setattr("benchmark.backbones.sources.snapshot_download", snapshot)
    monkeypatch.setattr(hub, "reachable", lambda: False)
    with pytest.raises(BackboneError, match=r"config\.json and weights in facebook/net"):
        open_backbone("hf:facebook/net")
    assert len(asked) == 4
    resnet = timm.create_model("resnet18", num_classes=0)
    save_file(resnet.state_dict(), tmp_path / "model.safetensors")
    backbone = open_backbone("hf:facebook/net")
    assert (backbone.arch, backbone.origin.spec, backbone.origin.file) == (
        "resnet18",
        "hf:facebook/net",
        "facebook/net",
    )


def test_inspect_reports_account_and_backbone(file: Path) -> None:
    report = json.loads(json.dumps(inspect_checkpoint(str(file), arch="test_vit", preprocess=["mean=0.5"])))
    assert report["account"]["dropped"] == {"classifier head": ["head.weight", "head.bias"]}
    assert report["backbone"]["default_representation"] == "cls" and report["backbone"]["head"]["classes"] == 1000
    assert report["backbone"]["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert "user: mean" in report["backbone"]["preprocessing"]["source"]
    without = inspect_checkpoint(str(file))
    assert "backbone" not in without and without["nearest"][0]["arch"].startswith("test_vit")
    render(report)
    render(without)


@pytest.mark.data
def test_mobilenetv2_gives_the_features_that_timm_and_pillow_give(data_dir: Path) -> None:
    path = data_dir / "checkpoints/mobilenetv2_100.coral_qat_in1k.pth"
    backbone = open_backbone(str(path), arch="mobilenetv2_100?pad_type=same", preprocess=["mean=0.5", "std=0.5"])
    reference = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    reference.load_state_dict(torch.load(path, weights_only=True))
    transform = T.Compose(
        [T.Resize(256, T.InterpolationMode.BICUBIC), T.CenterCrop(224), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)]
    )
    photos = [Image.open(p).convert("RGB") for p in sorted((data_dir / "clothing10/test").rglob("*.jpg"))[::120]]
    assert photos
    with torch.no_grad():
        x = torch.stack([transform(photo) for photo in photos])
        expected, logits = reference.forward_features(x).mean((2, 3)), reference(x)
    features = backbone.encode(torch.from_numpy(np.stack([backbone.preprocessing.geometry(p) for p in photos])))
    torch.testing.assert_close(features.global_("gap"), expected, rtol=1e-4, atol=1e-4)
    assert backbone.dims["gap"] == 1280 and backbone.head is not None
    ours = torch.nn.functional.linear(features.global_("gap"), backbone.head.weight, backbone.head.bias)
    torch.testing.assert_close(ours, logits, rtol=1e-3, atol=1e-3)


@pytest.mark.data
def test_one_network_in_two_layouts_gives_the_same_features_through_factories(data_dir: Path) -> None:
    """The authors' training checkpoint and its conversion to timm's names hold the same weights."""
    published = data_dir / "checkpoints/mobilenetV1X0.25_pretrain.tar"
    converted = data_dir / "checkpoints/mobilenetv1_025_leaky.in1k.pth"
    with pytest.raises(CheckpointError):
        open_backbone(str(published), arch="mobilenetv1_100")
    first = open_backbone(str(published), arch="python:tests.backbones.factories:stages")
    second = open_backbone(str(converted), arch="python:tests.backbones.factories:timm_style")
    images = pixels(2, 224)
    torch.testing.assert_close(
        first.encode(images).global_("gap"), second.encode(images).global_("gap"), rtol=1e-4, atol=1e-4
    )
    assert first.head is not None and second.head is not None
    assert torch.equal(first.head.weight, second.head.weight)
    assert "optimizer" not in json.dumps(dict(first.origin.dropped)) and first.origin.key == "state_dict.module"
