"""Masked image modelling: files rebuilt from small networks in the form in which each project saves them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.checkpoints.positions import fit_positions
from benchmark.errors import CheckpointError
from tests.backbones.building import pixels

State = dict[str, Tensor]
Opener = Callable[[object], Backbone]
TRAINING = {"optimizer": {"state": {}}, "epoch": 3, "scaler": {}, "args": argparse.Namespace(lr=0.1)}
SWIN_TRAINING = {"optimizer": {}, "lr_scheduler": {}, "max_accuracy": 0.0, "epoch": 3}
TABLE = "relative_position_bias_table"


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    def save_and_open(content: object, *preprocess: str) -> Backbone:
        path = tmp_path / "weights.pth"
        torch.save(content, path)
        return open_backbone(str(path), preprocess=preprocess)

    return save_and_open


def scramble(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random numbers everywhere, so that nothing equals its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            scale = 0.5 if TABLE in name or "token" in name or "pos_embed" in name else 0.1
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return network.eval()


def plain(seed: int = 0, **options: object) -> nn.Module:
    made = {"embed_dim": 32, "depth": 2, "num_heads": 1, "img_size": 32, "num_classes": 5, **options}
    return scramble(timm.create_model("vit_base_patch16_224", **made), seed)


def beit(seed: int = 0, **options: object) -> nn.Module:
    made = {
        "embed_dim": 48,
        "depth": 2,
        "num_heads": 3,
        "img_size": 48,
        "num_classes": 5,
        "init_values": 0.1,
        **options,
    }
    return scramble(timm.create_model("beit_base_patch16_224", **made), seed)


def junk(prefix: str, *shapes: tuple[int, ...]) -> State:
    return {f"{prefix}{i}.weight": torch.randn(shape) for i, shape in enumerate(shapes)}


def headless(network: nn.Module) -> State:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}


def assert_features(backbone: Backbone, network: nn.Module) -> None:
    """Class token and patches are those of the network on the same input."""
    images = pixels(2, backbone.preprocessing.size[0])
    with torch.no_grad():
        tokens = network.forward_features(backbone.preprocessing.normalise(images))
    features = backbone.encode(images)
    patches = features.grid().flatten(2).transpose(1, 2)
    assert (patches - tokens[:, 1:]).abs().max() <= 1e-5 * tokens.abs().max()
    if "cls" in backbone.representations:
        assert (features.global_("cls") - tokens[:, 0]).abs().max() <= 1e-5 * tokens.abs().max()


def mae_decoder(state: State) -> State:
    positions = torch.randn(1, state["pos_embed"].shape[1], 8)
    return {
        "mask_token": torch.randn(1, 1, 8),
        "decoder_pos_embed": positions,
        "decoder_embed.weight": torch.randn(8, 32),
        "decoder_blocks.0.norm1.weight": torch.randn(8),
        "decoder_norm.weight": torch.randn(8),
        "decoder_pred.weight": torch.randn(768, 8),
    }


def test_mae_is_taken_from_the_training_checkpoint_and_from_the_released_encoder(opened: Opener) -> None:
    network = plain()
    state = headless(network)
    full = opened({"model": {**state, **mae_decoder(state)}, **TRAINING})
    released = opened({"model": state})
    assert (full.origin.layout, released.origin.layout) == ("mae", "mae-encoder")
    assert full.weights_hash == released.weights_hash
    assert full.origin.dropped["mask_token"] and full.origin.dropped["decoder_pred.weight"] == "decoder"
    assert full.default_representation == "cls" and full.head is None
    assert_features(full, network)


def test_mae_fine_tuned_keeps_its_norm_behind_the_pooling_and_its_head(opened: Opener) -> None:
    network = plain(global_pool="avg")
    backbone = opened({"model": network.state_dict(), **TRAINING})
    images = pixels(2, 32)
    with torch.no_grad():
        tokens = network.forward_features(backbone.preprocessing.normalise(images))
        pooled = network.fc_norm(tokens[:, 1:].mean(1))
    torch.testing.assert_close(backbone.encode(images).global_("avg"), pooled, rtol=1e-5, atol=1e-5)
    assert backbone.origin.layout == "mae-finetuned" and "cls" not in backbone.representations
    assert backbone.head is not None and torch.equal(backbone.head.weight, network.head.weight)


def test_mae_at_another_size_interpolates_without_antialiasing(opened: Opener) -> None:
    network = plain(img_size=64)
    positions = opened({"model": headless(network)}, "size=32").module.pos_embed
    grid = network.pos_embed[:, 1:].detach().reshape(1, 4, 4, 32).permute(0, 3, 1, 2)
    expected = nn.functional.interpolate(grid, size=(2, 2), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(positions[:, 1:], expected)
    torch.testing.assert_close(positions[:, :1], network.pos_embed[:, :1])


def test_a_mae_file_that_lost_a_block_is_refused(opened: Opener) -> None:
    state = {name: value for name, value in headless(plain(depth=3)).items() if not name.startswith("blocks.1.")}
    with pytest.raises(CheckpointError, match=r"blocks\.1"):
        opened({"model": state})


def pretrained_beit(network: nn.Module) -> State:
    """As BEiT saves its pretraining: one table for all blocks, a head for the vocabulary."""
    state = headless(network)
    shared = [name for name in state if name.endswith(TABLE)]
    table = state[shared[0]]
    state = {name: value for name, value in state.items() if name not in shared}
    index = torch.zeros(10, 10, dtype=torch.int64)
    return {
        **state,
        f"rel_pos_bias.{TABLE}": table,
        "rel_pos_bias.relative_position_index": index,
        "mask_token": torch.randn(1, 1, table.shape[1] * 16),
        "lm_head.weight": torch.randn(64, 48),
        "lm_head.bias": torch.randn(64),
    }


def shared_beit(**options: object) -> nn.Module:
    """A network whose blocks have the same table, so that the file can hold it once."""
    network = beit(use_fc_norm=False, **options)
    with torch.no_grad():
        for block in network.blocks:
            block.attn.relative_position_bias_table.copy_(network.blocks[0].attn.relative_position_bias_table)
    return network


@pytest.mark.parametrize("key", ["model", "module", ""])
def test_beits_shared_table_reaches_every_block(opened: Opener, key: str) -> None:
    network = shared_beit()
    state = pretrained_beit(network)
    backbone = opened({key: state, **TRAINING} if key else state)
    assert backbone.origin.layout == "beit" and backbone.head is None
    assert backbone.preprocessing.mean == backbone.preprocessing.std == (0.5, 0.5, 0.5)
    tables = [block.attn.relative_position_bias_table for block in backbone.module.blocks]
    assert len(tables) == 2 and torch.equal(tables[0], tables[1]) and tables[0].abs().sum() > 0
    assert backbone.default_representation == "avg"
    assert_features(backbone, network)


def test_data2vecs_files_are_told_from_beits_by_what_they_predict(opened: Opener) -> None:
    network = shared_beit()
    state = {name: value for name, value in pretrained_beit(network).items() if not name.startswith("lm_head.")}
    width = state["cls_token"].shape[-1]
    state |= {"lm_head.weight": torch.ones(width, width), "lm_head.bias": torch.ones(width)}
    backbone = opened({"model": state, "model_ema": {k: v + 1 for k, v in state.items()}, **TRAINING})
    assert backbone.origin.layout == "data2vec-vision" and backbone.origin.key == "model"
    assert backbone.preprocessing.mean[0] == 0.485 and backbone.head is None
    assert_features(backbone, network)


def test_beit_v2_leaves_the_layers_out_that_train_its_class_token(opened: Opener) -> None:
    network = shared_beit()
    extra = {f"cls_pt_layers.0.{name}": value for name, value in beit(4).blocks[0].state_dict().items()}
    backbone = opened({"model": {**pretrained_beit(network), **extra}, **TRAINING})
    assert backbone.origin.layout == "beitv2" and backbone.preprocessing.mean[0] == 0.485
    assert backbone.default_representation == "cls" and len(backbone.module.blocks) == 2
    assert_features(backbone, network)


def test_beit_fine_tuned_has_a_table_per_block_and_a_head(opened: Opener) -> None:
    network = beit()
    backbone = opened({"model": network.state_dict()})
    images = pixels(2, 48)
    with torch.no_grad():
        tokens = network.forward_features(backbone.preprocessing.normalise(images))
        pooled = network.fc_norm(tokens[:, 1:].mean(1))
    torch.testing.assert_close(backbone.encode(images).global_("avg"), pooled, rtol=1e-5, atol=1e-5)
    assert backbone.origin.layout == "beit-finetuned" and backbone.head is not None
    assert any("beitv2-finetuned" in notice for notice in backbone.origin.notices)


@pytest.mark.parametrize(
    ("told", "layout", "mean"), [(True, "beitv2-finetuned", 0.485), (False, "beit-finetuned", 0.5)]
)
def test_the_saved_arguments_say_which_statistics_a_fine_tuned_beit_saw(
    opened: Opener, told: bool, layout: str, mean: float, tmp_path: Path
) -> None:
    """The tensors of BEiT's and BEiT v2's fine-tuned networks are the same; their script saves its arguments."""
    network = beit()
    for args in (argparse.Namespace(imagenet_default_mean_and_std=told), {"imagenet_default_mean_and_std": told}):
        backbone = opened({"model": network.state_dict(), **TRAINING, "args": args})
        assert (backbone.origin.layout, backbone.preprocessing.mean[0]) == (layout, mean)
    torch.save({"model": network.state_dict()}, tmp_path / "released.pth")  # without arguments
    named = open_backbone(str(tmp_path / "released.pth"), layout="beitv2-finetuned")
    assert named.preprocessing.mean[0] == 0.485 and named.head is not None


def test_the_saved_arguments_say_which_statistics_a_pretrained_beit_saw(opened: Opener) -> None:
    network = shared_beit()
    for told, layout, mean in ((True, "beit-in1k", 0.485), (False, "beit", 0.5)):
        args = argparse.Namespace(imagenet_default_mean_and_std=told)
        backbone = opened({"model": pretrained_beit(network), **TRAINING, "args": args})
        assert (backbone.origin.layout, backbone.preprocessing.mean[0]) == (layout, mean)
        assert_features(backbone, network)


def test_a_beit_file_that_lost_a_bias_is_refused(opened: Opener) -> None:
    state = pretrained_beit(shared_beit())
    del state["blocks.1.attn.v_bias"]
    with pytest.raises(CheckpointError, match="v_bias"):
        opened({"model": state})


def test_tables_follow_a_cubic_through_geometric_offsets() -> None:
    """A table that is a quadratic of BEiT's offsets stays that quadratic; piecewise linear reading does not."""
    ratio = np.roots([1, 1, 1, 1 - 6])  # 1 + q + q^2 + q^3 = 6: four offsets that reach 6
    q = float(next(root.real for root in ratio if abs(root.imag) < 1e-12))
    positive = np.cumsum(q ** np.arange(4))
    known = np.concatenate([-positive[::-1], [0], positive])
    asked = np.arange(-6, 7)

    def table(offsets: np.ndarray) -> Tensor:
        rows, columns = np.meshgrid(offsets, offsets, indexing="ij")
        head = np.stack([rows + 0.1 * columns**2, 3 * columns - 0.2 * rows**2], axis=-1).reshape(-1, 2)
        return torch.from_numpy(np.concatenate([head, [[7, 8], [9, 10], [11, 12]]])).float()

    name = f"blocks.0.attn.{TABLE}"
    state = {"blocks.0.attn.q_bias": torch.zeros(2), name: table(known)}
    fitted = fit_positions(state, {name: (13 * 13 + 3, 2)}, "timm", (80, 80), (112, 112))
    torch.testing.assert_close(fitted.state[name], table(asked), rtol=1e-3, atol=1e-3)
    assert "interpolated to 112 x 112" in fitted.notes[0]


def test_simmims_vit_lies_under_its_encoder(opened: Opener) -> None:
    network = shared_beit()
    state = {f"encoder.{name}": value for name, value in pretrained_beit(network).items() if "lm_head" not in name}
    backbone = opened({"model": {**state, **junk("decoder.", (12, 48, 1, 1))}, **SWIN_TRAINING})
    assert backbone.origin.layout == "simmim" and backbone.preprocessing.mean[0] == 0.485
    assert backbone.origin.key == "model.encoder"
    assert_features(backbone, network)


def test_simmims_fine_tuning_is_told_from_beits_by_what_it_saves(opened: Opener) -> None:
    backbone = opened({"model": beit().state_dict(), **SWIN_TRAINING})
    assert backbone.origin.layout == "simmim-finetuned" and backbone.preprocessing.mean[0] == 0.485


def authors_swin(network: nn.Module) -> State:
    """A stage of the authors' code holds the downsampling behind it; timm's the one before it."""
    state = {}
    for name, value in network.state_dict().items():
        parts = name.split(".")
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) - 1)
        state[".".join(parts).replace("head.fc", "head")] = value
    return state


@pytest.mark.parametrize("window", [2, 4])
def test_simmims_swin_has_the_windows_of_its_tables(opened: Opener, window: int) -> None:
    options = {
        "img_size": 64,
        "window_size": window,
        "embed_dim": 32,
        "depths": (2, 2, 2, 2),
        "num_heads": (1, 2, 4, 8),
    }
    network = scramble(timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, **options))
    state = {f"encoder.{name}": value for name, value in authors_swin(network).items()}
    mask = torch.zeros((16 // window) ** 2, window**2, window**2)
    state |= {"encoder.mask_token": torch.randn(1, 1, 32), "encoder.layers.0.blocks.1.attn_mask": mask}
    backbone = opened({"model": {**state, **junk("decoder.", (12, 256, 1, 1))}, **SWIN_TRAINING})
    assert backbone.origin.layout == "simmim-swin" and backbone.preprocessing.size == (64, 64)
    images = pixels(2, 64)
    with torch.no_grad():
        tokens = network.forward_features(backbone.preprocessing.normalise(images)).permute(0, 3, 1, 2)
    torch.testing.assert_close(backbone.encode(images).grid(), tokens, rtol=1e-5, atol=1e-5)


def absolute_beit(heads: int, **options: object) -> nn.Module:
    made = {"embed_dim": 384, "num_heads": heads, "use_abs_pos_emb": True, "use_rel_pos_bias": False, **options}
    return beit(use_fc_norm=False, img_size=32, **{k: v for k, v in made.items() if k != "img_size"})


def test_mfms_small_vit_has_six_heads(opened: Opener) -> None:
    network = absolute_beit(6, init_values=None)
    state = {f"encoder.{name}": value for name, value in headless(network).items()}
    backbone = opened({"model": {**state, **junk("decoder.", (12, 384, 1, 1))}, **SWIN_TRAINING})
    assert backbone.origin.layout == "mfm" and backbone.module.blocks[0].attn.num_heads == 6
    assert_features(backbone, network)


def test_mfms_resnet_lies_under_its_encoder(opened: Opener) -> None:
    network = scramble(timm.create_model("resnet18", num_classes=0))
    state = {f"encoder.{name}": value for name, value in network.state_dict().items()}
    backbone = opened({"model": {**state, **junk("decoder.", (12, 512, 1, 1))}, **SWIN_TRAINING})
    assert backbone.origin.layout == "mfm-resnet" and backbone.arch == "resnet18"
    images = pixels(1, 224)
    with torch.no_grad():
        expected = network.forward_features(backbone.preprocessing.normalise(images))
    torch.testing.assert_close(backbone.encode(images).grid(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("parts", [("alignment_encoder", "regresser"), ("teacher", "pretext_neck")])
def test_cae_takes_the_encoder_with_twelve_heads_and_not_its_copy(opened: Opener, parts: tuple[str, str]) -> None:
    network, copy = absolute_beit(12), absolute_beit(12, seed=9)
    state = {f"encoder.{name}": value for name, value in headless(network).items()}
    state |= {f"{parts[0]}.{name}": value for name, value in headless(copy).items()}
    state |= {"mask_token": torch.randn(1, 1, 8), **junk(f"{parts[1]}.", (8, 8)), **junk("encoder_to_decoder.", (8, 8))}
    backbone = opened({"model": state, **TRAINING})
    assert backbone.origin.layout == "cae" and backbone.module.blocks[0].attn.num_heads == 12
    assert backbone.default_representation == "cls"
    assert_features(backbone, network)


def split_attention(state: State) -> State:
    """Queries, keys and values in matrices of their own."""
    apart: State = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                apart[name.replace(".qkv.", f".{part}.")] = piece.clone()
        else:
            apart[name] = value
    return apart


def test_saims_three_matrices_are_joined_in_their_order(opened: Opener) -> None:
    network = plain()
    state = split_attention(headless(network))
    others = {name.replace("blocks.", "query_blocks."): value + 1 for name, value in state.items() if "blocks." in name}
    extra = {"prediction_head.fc1.weight": torch.randn(8, 32), "gaussian_blur.weight": torch.randn(3, 1, 9, 9)}
    content = {"model": {**state, **others, **extra}, **TRAINING}
    backbone = opened(content)
    assert backbone.origin.layout == "saim"
    assert_features(backbone, network)
    del content["model"]["blocks.1.attn.k.weight"]
    with pytest.raises(CheckpointError, match=r"no k.*complete file"):
        opened(content)


def test_saim_fine_tuned(opened: Opener) -> None:
    network = plain(global_pool="avg")
    backbone = opened({"model": split_attention(network.state_dict()), **TRAINING})
    assert backbone.origin.layout == "saim-finetuned" and backbone.head is not None
    assert torch.equal(backbone.module.blocks[1].attn.qkv.weight, network.blocks[1].attn.qkv.weight)


def test_mrms_images_are_grey_and_its_text_tower_is_left_out(opened: Opener) -> None:
    network = plain()
    state = headless(network)
    text = {"bert_encoder.model.embeddings.weight": torch.randn(9, 8), "bert_mlp.weight": torch.randn(8, 32)}
    backbone = opened({"model": {**state, **mae_decoder(state), **text}, **TRAINING})
    assert backbone.origin.layout == "mrm" and set(backbone.preprocessing.mean) == {0.4978}
    assert backbone.origin.dropped["bert_mlp.weight"] == "text tower"
    assert_features(backbone, network)


def test_correlational_image_modeling_takes_the_online_encoder(opened: Opener) -> None:
    network = plain()
    momentum = {f"{name.split('.')[0]}_c.{name.partition('.')[2]}": v + 1 for name, v in headless(network).items()}
    momentum = {name: value for name, value in momentum.items() if name.startswith(("blocks_c", "norm_c", "patch"))}
    extra = {**junk("decoder_corr_block.", (8, 8)), **junk("decoder_g_embed_c.", (8, 8))}
    backbone = opened({"model": {**headless(network), **momentum, **extra}, **TRAINING})
    assert backbone.origin.layout == "correlational-image-modeling"
    assert_features(backbone, network)


def test_further_pretraining_is_read_in_the_names_of_transformers(opened: Opener) -> None:
    network = plain(depth=2)
    for part in network.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = 1e-12
    names = {
        "pos_embed": "embeddings.position_embeddings", "cls_token": "embeddings.cls_token",
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.", "blocks.": "encoder.layer.",
        ".attn.proj.": ".attention.output.dense.", ".attn.": ".attention.attention.",
        ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.", ".norm1.": ".layernorm_before.", ".norm2.": ".layernorm_after.",
        ".q.": ".query.", ".k.": ".key.", ".v.": ".value.",
    }  # fmt: skip
    state: State = {}
    for name, value in split_attention(headless(network)).items():
        new = name.replace("norm.", "layernorm.") if name.startswith("norm.") else name
        for ours, theirs in names.items():
            new = new.replace(ours, theirs)
        state[new] = value
    backbone = opened({"args": argparse.Namespace(steps=1), "state_dict": state})
    assert backbone.origin.layout == "further-pretraining" and "norm_eps=1e-12" in backbone.arch
    assert_features(backbone, network)


def test_cae_fine_tuned_has_positions_of_both_kinds_and_imagenets_statistics(opened: Opener) -> None:
    network = beit(use_abs_pos_emb=True)
    backbone = opened({"model": network.state_dict(), **TRAINING})
    assert backbone.origin.layout == "cae-finetuned" and backbone.preprocessing.mean[0] == 0.485
    assert torch.equal(backbone.module.pos_embed, network.pos_embed) and backbone.head is not None
    assert_features(backbone, network)
