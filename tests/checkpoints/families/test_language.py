"""Encoders trained with text: files as OpenAI's CLIP, OpenCLIP and their relatives write them."""

from __future__ import annotations

import builtins
import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.checkpoints.archive import Archive, open_archive
from benchmark.checkpoints.encoder import find_encoder
from benchmark.checkpoints.inference.infer import infer
from benchmark.checkpoints.storage import LazyTensor
from benchmark.errors import CheckpointError
from tests.checkpoints.forging import Call, program

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
TINY: dict[str, Any] = {
    "img_size": 64, "embed_dim": 128, "depth": 2, "num_heads": 2, "pre_norm": True, "num_classes": 0,
}  # fmt: skip
# timm's names -> those of OpenAI's code, which OpenCLIP shares.
NATIVE = (
    (r"^patch_embed\.proj\.", "conv1."), (r"^cls_token$", "class_embedding"), (r"^pos_embed$", "positional_embedding"),
    (r"^norm_pre\.", "ln_pre."), (r"^norm\.", "ln_post."), (r"^blocks\.", "transformer.resblocks."),
    (r"\.norm(\d)\.", r".ln_\1."), (r"\.attn\.qkv\.", ".attn.in_proj_"), (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."), (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)  # fmt: skip


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with values in every tensor that an initialisation leaves at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if tensor.is_floating_point() and (tensor.ndim < 4 and tensor.numel() < 1 << 20):
                noise = torch.randn(tensor.shape, generator=generator) * 0.1
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else tensor + noise)
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())  # so that half precision stores it exactly
    return model.eval()


def renamed(state: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        short = name
        for pattern, to in rules:
            short = re.sub(pattern, to, short)
        found[short] = value.clone()
    return found


def native(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A tower of timm in the names and shapes of OpenAI's code."""
    found = renamed(state, NATIVE)
    found["class_embedding"] = found["class_embedding"].reshape(-1)
    found["positional_embedding"] = found["positional_embedding"][0]
    return found


def clip_state(tower: Mapping[str, Tensor], projection: bool = True) -> dict[str, Tensor]:
    """A whole model: the image tower under `visual.`, a text tower beside it."""
    width = 64
    whole = {f"visual.{name}": value for name, value in tower.items()}
    if projection:
        whole["visual.proj"] = torch.randn(128, width)
    whole |= {"positional_embedding": torch.randn(16, width), "text_projection": torch.randn(width, width)}
    whole |= {"logit_scale": torch.tensor(4.6), "token_embedding.weight": torch.randn(50, width)}
    whole |= {f"ln_final.{leaf}": torch.randn(width) for leaf in ("weight", "bias")}
    whole["transformer.resblocks.0.attn.in_proj_weight"] = torch.randn(3 * width, width)
    whole["transformer.resblocks.0.ln_1.weight"] = torch.randn(width)
    return whole


def scripted(state: Mapping[str, Tensor], path: Path, sizes: bool = True) -> Path:
    """A TorchScript archive with these tensors in half precision and the three numbers that OpenAI's archives hold."""
    root = nn.Module()
    for name, value in state.items():
        *way, leaf = name.split(".")
        module = root
        for step in way:
            if step not in module._modules:
                module.add_module(step, nn.Module())
            module = module.get_submodule(step)
        module.register_parameter(leaf, nn.Parameter(value.half() if value.ndim > 1 else value, requires_grad=False))
    for name, number in {"input_resolution": 64, "context_length": 16, "vocab_size": 50}.items() if sizes else ():
        root.register_buffer(name, torch.tensor(number))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; the published archives stay what they are
        torch.jit.save(torch.jit.script(root), str(path))
    return path


def same(backbone: Backbone, model: nn.Module, name: str = "cls") -> None:
    """The features are those of the network that the file was written from."""
    images = torch.randint(0, 256, (2, 3, *backbone.preprocessing.size), dtype=torch.uint8)
    ours = backbone.encode(images).global_(name)
    with torch.no_grad():
        x = backbone.preprocessing.normalise(images)
        wanted = model.forward_head(model.forward_features(x), pre_logits=True)  # type: ignore[operator]
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.fixture(scope="module")
def quick() -> nn.Module:
    return randomised(timm.create_model("vit_base_patch16_224", act_layer="quick_gelu", norm_layer=_NORM, **TINY))


@pytest.fixture(scope="module")
def exact() -> nn.Module:
    return randomised(timm.create_model("vit_base_patch16_224", norm_layer=_NORM, **TINY))


def _NORM(*arguments: Any, **options: Any) -> nn.LayerNorm:
    return nn.LayerNorm(*arguments, **{**options, "eps": 1e-5})


def test_an_archive_of_openai_gives_the_tower_before_its_projection(quick: nn.Module, tmp_path: Path) -> None:
    backbone = open_backbone(str(scripted(clip_state(native(quick.state_dict())), tmp_path / "ViT.pt")))
    assert backbone.origin.layout == "clip"
    assert backbone.origin.key == "visual"
    assert backbone.default_representation == "cls"
    assert backbone.head is None
    assert backbone.preprocessing.mean == CLIP_MEAN
    assert (backbone.preprocessing.size, backbone.preprocessing.crop_pct) == ((64, 64), 1.0)
    assert backbone.origin.dropped["proj"] == "projection into the space shared with the text"
    assert backbone.origin.dropped["token_embedding.weight"] == "text tower"
    assert "context_length" in backbone.origin.dropped
    same(backbone, quick)


def test_the_exact_gelu_would_be_another_network(quick: nn.Module, exact: nn.Module, tmp_path: Path) -> None:
    backbone = open_backbone(str(scripted(clip_state(native(exact.state_dict())), tmp_path / "ViT.pt")))
    with pytest.raises(AssertionError):
        same(backbone, exact)  # an archive of OpenAI's is taken with QuickGELU, whatever it was written from


def test_an_archive_without_a_block_is_refused(quick: nn.Module, tmp_path: Path) -> None:
    whole = clip_state(native(quick.state_dict()))
    short = {name: value for name, value in whole.items() if not name.startswith("visual.transformer.resblocks.0.ln")}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.norm1"):
        open_backbone(str(scripted(short, tmp_path / "short.pt")))
    moved = {
        name.replace("visual.transformer.resblocks.1", "visual.transformer.resblocks.2"): v for name, v in whole.items()
    }
    with pytest.raises(CheckpointError, match=r"blocks\.1"):
        open_backbone(str(scripted(moved, tmp_path / "gap.pt")))


RESNET = (
    (r"^stem\.conv(\d)\.(conv|bn)\.", r"\2\1."), (r"^stages\.0\.", "layer1."), (r"^stages\.1\.", "layer2."),
    (r"^stages\.2\.", "layer3."), (r"^stages\.3\.", "layer4."), (r"\.conv(\d)_(?:1x1|kxk)\.(conv|bn)\.", r".\2\1."),
    (r"\.shortcut\.conv\.conv\.", ".downsample.0."), (r"\.shortcut\.conv\.bn\.", ".downsample.1."),
    (r"^head\.pos_embed$", "attnpool.positional_embedding"), (r"^head\.([qkv])\.", r"attnpool.\1_proj."),
    (r"^head\.proj\.", "attnpool.c_proj."),
)  # fmt: skip


def test_the_residual_network_keeps_its_attention_pooling(tmp_path: Path) -> None:
    model = randomised(timm.create_model("resnet50_clip"))
    backbone = open_backbone(
        str(scripted(clip_state(renamed(model.state_dict(), RESNET), projection=False), tmp_path / "RN50.pt"))
    )
    assert (backbone.origin.layout, backbone.arch) == ("clip-resnet", "resnet50_clip")
    assert backbone.default_representation == "pre_logits"
    assert backbone.head is None
    same(backbone, model, "pre_logits")


def _archive(
    path: Path, code: bytes, constants: bytes = b"\x80\x02).", extra: Mapping[str, bytes] | None = None
) -> Path:
    """A TorchScript archive around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        entries = {
            "data.pkl": code,
            "constants.pkl": constants,
            "version": b"3\n",
            "code/__torch__.py": b"",
            **(extra or {}),
        }
        for name, raw in entries.items():
            archive.writestr(f"net/{name}", raw)
    return path


@pytest.mark.parametrize("where", ["data", "constants", "code", "state"])
def test_a_crafted_archive_runs_nothing(where: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    attack = program({"x": Call(os.mkdir, str(sentinel)), "y": Call(builtins.exec, f"open({str(sentinel)!r}, 'w')")})
    harmless = program({"w": 1})
    script = f"import os\nos.mkdir({str(sentinel)!r})\nclass Net(Module):\n  __setstate__ = os.mkdir\n".encode()
    made = b"c__torch__\nNet\n)\x81"  # an object of a class of the archive, with a state
    inside = b"\x80\x02" + made + b"}(X\x01\x00\x00\x00w" + attack[2:-1] + b"ub."
    path = _archive(
        tmp_path / "crafted.pt",
        {"data": attack, "state": inside}.get(where, harmless),
        attack if where == "constants" else b"\x80\x02).",
        {"code/__torch__.py": script, "code/__torch__.py.debug_pkl": attack} if where == "code" else None,
    )
    archive = open_archive(path)
    assert archive.format == "torchscript"
    assert not sentinel.exists()
    if where in ("data", "state"):
        assert {"posix.mkdir"} <= {note.name for note in archive.placeholders}
    with pytest.raises(CheckpointError):
        open_backbone(str(path))
    assert not sentinel.exists()


def test_an_archive_whose_modules_share_each_other_without_end_is_refused(tmp_path: Path) -> None:
    program = b"\x80\x02" + b"c__torch__\nNet\n)\x81}b" + b"q\x00"
    for index in range(1, 40):  # each holds the one before it twice: 2 ** 39 modules on paper
        program += b"c__torch__\nNet\n)\x81}(X\x01\x00\x00\x00a" + b"h" + bytes([index - 1])
        program += b"X\x01\x00\x00\x00b" + b"h" + bytes([index - 1]) + b"ubq" + bytes([index])
    with pytest.raises(CheckpointError, match="a model of at most"):
        open_archive(_archive(tmp_path / "bomb.pt", program + b"."))


def test_denseclip_leaves_pyramid_and_heads_out(quick: nn.Module, tmp_path: Path) -> None:
    tower = {f"backbone.{name}": value for name, value in native(quick.state_dict()).items()}
    more = {"backbone.proj": torch.ones(4, 4), "backbone.fpn1.0.weight": torch.ones(4), "gamma": torch.ones(4)}
    more |= {f"{name}.0.weight": torch.ones(2, 2) for name in ("context_decoder", "text_encoder", "decode_head")}
    torch.save({"meta": {"epoch": 1}, "state_dict": {**tower, **more}, "optimizer": {}}, tmp_path / "d.pth")
    backbone = open_backbone(str(tmp_path / "d.pth"))
    assert (backbone.origin.layout, backbone.origin.key) == ("denseclip", "state_dict.backbone")
    clip = open_backbone(str(scripted(clip_state(native(quick.state_dict())), tmp_path / "ViT.pt"))).module.state_dict()
    for name, tensor in backbone.module.state_dict().items():  # its code adds the class embedding twice
        assert torch.equal(tensor, clip[name] * (2 if name == "cls_token" else 1)), name


def test_openclip_asks_for_the_activation_that_no_tensor_says(
    quick: nn.Module, exact: nn.Module, tmp_path: Path
) -> None:
    for model, layout in ((quick, "openclip-quickgelu"), (exact, "openclip")):
        state = {f"module.{name}": value for name, value in clip_state(native(model.state_dict())).items()}
        path = tmp_path / f"{layout}.pt"
        torch.save({"epoch": 32, "name": "run", "state_dict": state, "optimizer": {"state": {}}, "scaler": {}}, path)
        with pytest.raises(CheckpointError, match="looks like openclip or openclip-quickgelu"):
            open_backbone(str(path))
        backbone = open_backbone(str(path), layout=layout)
        assert backbone.origin.key == "state_dict.module.visual"
        same(backbone, model)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_folder_of_openclip_says_it(quick_gelu: bool, quick: nn.Module, exact: nn.Module, tmp_path: Path) -> None:
    model = quick if quick_gelu else exact
    torch.save(clip_state(native(model.state_dict())), tmp_path / "open_clip_pytorch_model.bin")
    pixels = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "resize_mode": "squash"}
    stated = {"quick_gelu": True} if quick_gelu else {}  # what is left out is the exact GELU
    config = {"model_cfg": {"embed_dim": 64, **stated}, "preprocess_cfg": pixels}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    backbone = open_backbone(str(tmp_path))
    assert backbone.origin.layout == ("openclip-quickgelu" if quick_gelu else "openclip")
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    assert (backbone.preprocessing.mode, backbone.preprocessing.interpolation) == ("squash", "bilinear")
    same(backbone, model)


def test_a_tower_of_timm_is_found_below_the_trunk(tmp_path: Path) -> None:
    model = randomised(timm.create_model("convnext_tiny", num_classes=0))
    state = {f"module.visual.trunk.{name}": value for name, value in model.state_dict().items()}
    state |= {"module.visual.head.proj.weight": torch.randn(8, 768), "module.logit_scale": torch.tensor(4.6)}
    state |= {"module.text.ln_final.weight": torch.randn(8)}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "model.pt")
    backbone = open_backbone(str(tmp_path / "model.pt"))
    assert (backbone.origin.layout, backbone.arch) == ("openclip-timm", "convnext_tiny")
    assert backbone.preprocessing.mean == CLIP_MEAN
    same(backbone, model, "gap")


def test_the_activation_of_a_siglip_is_that_of_its_published_shape() -> None:
    """B/32 has the tanh approximation, which B/16 of the same widths has not: no name says it, timm's model does."""
    name = "vit_base_patch32_siglip_256"
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in timm.create_model(name, num_classes=0).state_dict().items()}
    lazy = {
        f"visual.trunk.{key}": LazyTensor(tuple(shape), torch.float32, _zeros(shape)) for key, shape in shapes.items()
    }
    lazy["logit_bias"] = LazyTensor((), torch.float32, _zeros(()))
    archive = Archive(Path("siglip.pt"), "torch-zip", "", 0, {"state_dict": lazy})
    encoder = find_encoder(archive)
    assert (encoder.layout, infer(archive, encoder).arch) == ("siglip", name)


def _zeros(shape: tuple[int, ...]) -> Callable[[], Tensor]:
    return lambda: torch.zeros(()).expand(shape)
