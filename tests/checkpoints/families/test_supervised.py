"""Networks trained with labels: files rebuilt from small networks in the names of their authors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.errors import CheckpointError
from tests.backbones.building import pixels

State = dict[str, Tensor]


def made(name: str, **options: Any) -> Any:
    """A network of timm with random numbers everywhere."""
    network = timm.create_model(name, **{"num_classes": 5, **options})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        for key, buffer in network.named_buffers():
            if key.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return network.eval()


def saved(tmp_path: Path, content: object) -> str:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    return str(path)


def npz(tmp_path: Path, arrays: dict[str, np.ndarray]) -> str:
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays)
    return str(path)


def assert_pooled(backbone: Backbone, network: Any, *, representation: str | None = None) -> None:
    """What enters the classifier is that of the network on the same input."""
    images = pixels(2, backbone.preprocessing.size[0])
    with torch.no_grad():
        x = backbone.preprocessing.normalise(images)
        expected = network.forward_head(network.forward_features(x), pre_logits=True)
    found = backbone.encode(images).global_(representation or backbone.default_representation)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def authors(state: State, *renames: tuple[str, str]) -> State:
    """The state under other names."""
    named: State = {}
    for name, value in state.items():
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        named[name] = value
    return named


def stage_before(state: State, root: str = "layers") -> State:
    """Downsampling belongs to the stage in front of it."""
    return authors(state, *((rf"^{root}\.{n}\.downsample\.", f"{root}.{n - 1}.downsample.") for n in (1, 2, 3)))


@pytest.mark.parametrize(("size", "heads"), [("tiny", 3), ("small", 6)])
def test_deits_small_vits_have_its_heads(tmp_path: Path, size: str, heads: int) -> None:
    network = made(f"vit_{size}_patch16_224", img_size=32)
    backbone = open_backbone(saved(tmp_path, {"model": network.state_dict()}))
    assert backbone.origin.layout == "deit" and backbone.module.blocks[0].attn.num_heads == heads
    assert backbone.head is not None
    assert_pooled(backbone, network)


@pytest.mark.parametrize(("size", "width", "few"), [("tiny", 192, 3), ("small", 384, 6)])
def test_fixed_positions_in_deits_form_leave_the_heads_to_the_user(
    tmp_path: Path, size: str, width: int, few: int
) -> None:
    """MoCo v3's ViT-S fine-tuned by DeiT's code: weights and classifier under `model`, and 12 heads."""
    network = made(f"vit_{size}_patch16_224", img_size=32, num_heads=12)
    angles = torch.rand(1, 5, width // 2, generator=torch.Generator().manual_seed(0)) * 6
    with torch.no_grad():
        network.pos_embed.copy_(torch.cat([angles.sin(), angles.cos()], dim=-1))
        network.pos_embed[:, 0] = 0  # the class token has none
    path = saved(tmp_path, {"model": network.state_dict()})
    with pytest.raises(CheckpointError, match=f"num_heads={few} or num_heads=12 is possible"):
        open_backbone(path)
    backbone = open_backbone(path, arch=f"vit_{size}_patch16_224?num_heads=12&img_size=32")
    assert backbone.origin.layout == "deit" and backbone.module.blocks[0].attn.num_heads == 12
    assert_pooled(backbone, network)
    told = open_backbone(path, layout="deit")  # whoever names the family answers for it
    assert told.module.blocks[0].attn.num_heads == few


def test_a_deit_file_that_lost_a_block_is_refused(tmp_path: Path) -> None:
    state = {k: v for k, v in made("vit_tiny_patch16_224", img_size=32).state_dict().items() if "blocks.5." not in k}
    with pytest.raises(CheckpointError, match=r"blocks\.5"):
        open_backbone(saved(tmp_path, {"model": state}))


def test_deit_distilled_has_two_tokens_and_no_single_classifier(tmp_path: Path) -> None:
    network = made("deit_tiny_distilled_patch16_224", img_size=48)
    backbone = open_backbone(saved(tmp_path, {"model": network.state_dict()}))
    assert backbone.origin.layout == "deit-distilled" and backbone.head is None
    images = pixels(2, 48)
    with torch.no_grad():
        tokens = network.forward_features(backbone.preprocessing.normalise(images))
    torch.testing.assert_close(backbone.encode(images).global_("cls"), tokens[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        backbone.encode(images).grid().flatten(2).transpose(1, 2), tokens[:, 2:], rtol=1e-5, atol=1e-5
    )


def test_deit3_scales_its_layers_and_its_positions_lack_the_class_token(tmp_path: Path) -> None:
    network = made("deit3_small_patch16_224", img_size=32)
    state = authors(network.state_dict(), (r"\.ls([12])\.gamma$", r".gamma_\1"))
    backbone = open_backbone(saved(tmp_path, {"model": state}))
    assert backbone.origin.layout == "deit3" and backbone.preprocessing.crop_pct == 1.0
    assert_pooled(backbone, network)


TINY_SWIN = {"embed_dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}


def test_swins_stages_are_renumbered(tmp_path: Path) -> None:
    network = made("swin_tiny_patch4_window7_224", img_size=64, window_size=2, **TINY_SWIN)
    state = stage_before(authors(network.state_dict(), (r"^head\.fc\.", "head.")))
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 4, 4)
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(4, 4)
    backbone = open_backbone(saved(tmp_path, {"model": state, "max_accuracy": 1.0}))
    assert backbone.origin.layout == "swin" and backbone.preprocessing.size == (64, 64)
    assert backbone.head is not None
    assert_pooled(backbone, network)


def test_swin_v2s_windows_are_read_from_its_tables_of_offsets(tmp_path: Path) -> None:
    """Those of pretraining too, which only the values of the tables tell."""
    before = (6, 6, 6, 3)
    network = made("swinv2_tiny_window8_256", img_size=64, window_size=2, pretrained_window_sizes=before, **TINY_SWIN)
    state = stage_before(authors(network.state_dict(), (r"^head\.fc\.", "head.")))
    for name, module in network.named_modules():
        if hasattr(module, "relative_coords_table"):
            state[f"{name}.relative_coords_table"] = module.relative_coords_table
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 4, 4)
    backbone = open_backbone(saved(tmp_path, {"model": state}))
    assert "pretrained_window_sizes=(6,6,6,3)" in backbone.arch
    assert_pooled(backbone, network)
    bare = {name: value for name, value in state.items() if "relative_coords_table" not in name}
    with pytest.raises(CheckpointError, match="tables of offsets"):
        open_backbone(saved(tmp_path, {"model": bare}))


def test_tinyvits_names_are_the_authors(tmp_path: Path) -> None:
    network = made("tiny_vit_5m_224")
    state = authors(
        network.state_dict(), (r"^head\.norm\.", "norm_head."), (r"^head\.fc\.", "head."), (r"^stages\.", "layers."),
        (r"^patch_embed\.conv1\.", "patch_embed.seq.0."), (r"^patch_embed\.conv2\.", "patch_embed.seq.2."),
        (r"\.conv\.weight$", ".c.weight"),
    )  # fmt: skip
    backbone = open_backbone(saved(tmp_path, {"model": stage_before(state)}))
    assert (backbone.origin.layout, backbone.arch) == ("tinyvit", "tiny_vit_5m_224")
    assert_pooled(backbone, network)


def authors_convnext(network: nn.Module) -> State:
    state = authors(
        network.state_dict(),
        (r"^stem\.", "downsample_layers.0."), (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^(stages\.\d)\.blocks\.", r"\1."), (r"\.conv_dw\.", ".dwconv."), (r"\.mlp\.fc([12])\.", r".pwconv\1."),
        (r"\.mlp\.grn\.weight$", ".grn.gamma"), (r"\.mlp\.grn\.bias$", ".grn.beta"), (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    )  # fmt: skip
    for name, value in state.items():
        if ".grn." in name:
            state[name] = value[None, None, None]
        elif ".pwconv" in name and value.ndim == 4:
            state[name] = value.flatten(1)
    return state


def test_convnexts_training_checkpoint_gives_the_weights_not_their_average(tmp_path: Path) -> None:
    network = made("convnext_tiny")
    state = authors_convnext(network)
    average = {name: torch.zeros(()).expand(value.shape) for name, value in state.items()}
    backbone = open_backbone(saved(tmp_path, {"model": state, "model_ema": average, "optimizer": {}, "epoch": 2}))
    assert (backbone.origin.layout, backbone.arch) == ("convnext", "convnext_tiny")
    assert backbone.head is not None
    assert_pooled(backbone, network)


def test_convnext_v2_after_pretraining_has_no_final_norm(tmp_path: Path) -> None:
    network = made("convnextv2_atto")
    state = authors_convnext(network)
    tuned = open_backbone(saved(tmp_path, {"model": state}))
    assert tuned.origin.layout == "convnext" and tuned.head is not None
    assert_pooled(tuned, network)
    encoder = {name: value for name, value in state.items() if not name.startswith(("norm.", "head."))}
    pretrained = open_backbone(saved(tmp_path, {"model": encoder}))
    assert pretrained.origin.layout == "fcmae" and pretrained.head is None
    images = pixels(2, 224)
    with torch.no_grad():
        maps = network.forward_features(pretrained.preprocessing.normalise(images))
    torch.testing.assert_close(pretrained.encode(images).global_("gap"), maps.mean((2, 3)), rtol=1e-5, atol=1e-4)


def flax(network: Any, linen: bool = True) -> dict[str, np.ndarray]:
    """The arrays of Google's code: kernels (in, out), and heads on an axis of their own."""
    heads, width = network.blocks[0].attn.num_heads, network.embed_dim
    numbers = {"norm2": "LayerNorm_1", "attn": "MultiHeadDotProductAttention_0", "mlp": "MlpBlock_0"}
    if not linen:
        numbers = {"norm2": "LayerNorm_2", "attn": "MultiHeadDotProductAttention_1", "mlp": "MlpBlock_3"}
    arrays: dict[str, np.ndarray] = {}

    def put(name: str, array: Tensor) -> None:
        arrays[name] = array.detach().numpy()

    def attention(place: str, parts: dict[str, tuple[Tensor, Tensor]], out: nn.Linear) -> None:
        for part, (weight, bias) in parts.items():
            put(f"{place}/{part}/kernel", weight.T.reshape(width, heads, width // heads))
            put(f"{place}/{part}/bias", bias.reshape(heads, width // heads))
        put(f"{place}/out/kernel", out.weight.T.reshape(heads, width // heads, width))
        put(f"{place}/out/bias", out.bias)

    def norm(place: str, module: nn.LayerNorm) -> None:
        put(f"{place}/scale", module.weight)
        put(f"{place}/bias", module.bias)

    def dense(place: str, module: nn.Linear) -> None:
        put(f"{place}/kernel", module.weight.T)
        put(f"{place}/bias", module.bias)

    put("embedding/kernel", network.patch_embed.proj.weight.permute(2, 3, 1, 0))
    put("embedding/bias", network.patch_embed.proj.bias)
    if network.cls_token is not None:
        put("cls", network.cls_token)
    put("pos_embedding" if linen else "Transformer/posembed_input/pos_embedding", network.pos_embed)
    for index, block in enumerate(network.blocks):
        place = f"Transformer/encoderblock_{index}"
        norm(f"{place}/LayerNorm_0", block.norm1)
        norm(f"{place}/{numbers['norm2']}", block.norm2)
        weights, biases = block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3)
        named = dict(zip(("query", "key", "value"), zip(weights, biases, strict=True), strict=True))
        attention(f"{place}/{numbers['attn']}", named, block.attn.proj)
        dense(f"{place}/{numbers['mlp']}/Dense_0", block.mlp.fc1)
        dense(f"{place}/{numbers['mlp']}/Dense_1", block.mlp.fc2)
    norm("Transformer/encoder_norm", network.norm)
    pool = network.attn_pool
    if pool is not None:
        put("MAPHead_0/probe", pool.latent)
        key, value = zip(pool.kv.weight.chunk(2), pool.kv.bias.chunk(2), strict=True)
        named = {"query": (pool.q.weight, pool.q.bias), "key": key, "value": value}
        attention("MAPHead_0/MultiHeadDotProductAttention_0", named, pool.proj)
        norm("MAPHead_0/LayerNorm_0", pool.norm)
        dense("MAPHead_0/MlpBlock_0/Dense_0", pool.mlp.fc1)
        dense("MAPHead_0/MlpBlock_0/Dense_1", pool.mlp.fc2)
    dense("head", network.head)
    return arrays


def tower(**options: Any) -> Any:
    return made("vit_small_patch16_224", img_size=32, act_layer="gelu_tanh", **options)


def test_googles_npz_in_its_published_numbering(tmp_path: Path) -> None:
    network = tower()
    backbone = open_backbone(npz(tmp_path, flax(network, linen=False)))
    assert backbone.origin.layout == "vit-jax" and backbone.module.blocks[0].attn.num_heads == 6
    assert "act_layer=gelu_tanh" in backbone.arch and backbone.preprocessing.mode == "squash"
    assert backbone.preprocessing.mean == backbone.preprocessing.std == (0.5, 0.5, 0.5)
    assert backbone.head is not None and torch.equal(backbone.head.weight, network.head.weight)
    assert_pooled(backbone, network)


def test_positions_of_an_npz_are_read_bilinearly(tmp_path: Path) -> None:
    network = made("vit_small_patch16_224", img_size=64, act_layer="gelu_tanh")
    backbone = open_backbone(npz(tmp_path, flax(network, linen=False)), preprocess=["size=112"])
    found, old = backbone.module.pos_embed[0, 1:].reshape(7, 7, -1), network.pos_embed[0, 1:].reshape(4, 4, -1)
    torch.testing.assert_close(found[::2, ::2], old, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1, 0], (old[0, 0] + old[1, 0]) / 2, rtol=1e-5, atol=1e-6)


def test_a_classifier_behind_a_hidden_layer_is_not_taken_for_one_on_the_features(tmp_path: Path) -> None:
    network = tower()
    arrays = {**flax(network, linen=False), "pre_logits/kernel": np.ones((384, 384)), "pre_logits/bias": np.ones(384)}
    backbone = open_backbone(npz(tmp_path, arrays))
    assert backbone.origin.layout == "vit-jax-pre-logits" and backbone.head is None
    assert_pooled(backbone, network)


@pytest.mark.parametrize("scan", [False, True])
def test_big_visions_image_tower_beside_a_text_tower(tmp_path: Path, scan: bool) -> None:
    network = tower(class_token=False, global_pool="map")
    arrays = flax(network)
    if scan:
        leaves = {re.sub(r"encoderblock_\d+/", "", name) for name in arrays if "encoderblock_" in name}
        blocks = {
            leaf.replace("Transformer/", "Transformer/encoderblock/"): np.stack(
                [arrays[leaf.replace("Transformer/", f"Transformer/encoderblock_{i}/")] for i in range(12)]
            )
            for leaf in leaves
        }
        arrays = {name: array for name, array in arrays.items() if "encoderblock_" not in name} | blocks
    pair = {f"params/img/{name}": array for name, array in arrays.items()}
    text = {"params/txt/Embed_0/embedding": np.ones((4, 4)), "params/t": np.ones(1), "params/b": np.ones(1)}
    backbone = open_backbone(npz(tmp_path, {**pair, **text}))
    assert backbone.origin.layout == "big-vision" and backbone.default_representation == "pre_logits"
    assert backbone.origin.dropped["t"] == "text tower"
    assert_pooled(backbone, network)


def test_big_visions_mean_pooling(tmp_path: Path) -> None:
    network = tower(class_token=False, global_pool="avg", fc_norm=False)
    backbone = open_backbone(npz(tmp_path, {f"params/{name}": array for name, array in flax(network).items()}))
    assert backbone.origin.layout == "big-vision" and backbone.default_representation == "avg"
    assert_pooled(backbone, network)


def test_an_npz_that_lost_a_part_of_its_attention_is_refused(tmp_path: Path) -> None:
    arrays = flax(tower(), linen=False)
    del arrays["Transformer/encoderblock_3/MultiHeadDotProductAttention_1/key/kernel"]
    with pytest.raises(CheckpointError, match="no key"):
        open_backbone(npz(tmp_path, arrays))
