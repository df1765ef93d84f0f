import pytest
import torch

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.backbones.encoder import Encoder
from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError, RequestError
from tasks.openmmlab.windows import WindowAttention, WindowedEncoder


def attention() -> torch.nn.Module:
    torch.manual_seed(0)
    module = open_backbone("random:test_vit", preprocess=["size=64"]).module.blocks[0].attn.eval()
    torch.nn.init.normal_(module.qkv.bias)
    return module


def by_hand(
    inner: torch.nn.Module, tokens: torch.Tensor, vertical: torch.Tensor, horizontal: torch.Tensor
) -> torch.Tensor:
    """Attention among (h, w, D), score by score: q k / sqrt(d) + q R[row offset] + q R[column offset]."""
    height, width, dim = tokens.shape
    qkv = inner.qkv(tokens).reshape(height, width, 3, inner.num_heads, inner.head_dim)
    out = torch.zeros(height, width, inner.num_heads, inner.head_dim)
    for head in range(inner.num_heads):
        q, k, v = (qkv[:, :, part, head] for part in range(3))
        for i in range(height):
            for j in range(width):
                scores = torch.stack(
                    [
                        q[i, j] @ k[a, b] * inner.head_dim**-0.5
                        + q[i, j] @ vertical[i - a + height - 1]
                        + q[i, j] @ horizontal[j - b + width - 1]
                        for a in range(height)
                        for b in range(width)
                    ]
                )
                out[i, j, head] = scores.softmax(0) @ v.reshape(-1, inner.head_dim)
    return inner.proj(out.reshape(height, width, dim))


@torch.no_grad()
def test_attention_to_the_whole_map_has_vitdets_relative_positions() -> None:
    inner = attention()
    windows = WindowAttention(inner, (3, 4), 0, relative=True)
    torch.nn.init.normal_(windows.vertical)
    torch.nn.init.normal_(windows.horizontal)
    x = torch.randn(1, 12, inner.qkv.in_features)
    expected = by_hand(inner, x[0].reshape(3, 4, -1), windows.vertical, windows.horizontal)
    torch.testing.assert_close(windows(x)[0], expected.flatten(0, 1), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_windows_see_themselves_and_the_zeros_that_fill_the_last_ones() -> None:
    """A map of 3 x 5 in windows of 2: filled up to 4 x 6 by zeros, behind the norm, as in detectron2's ViT."""
    inner = attention()
    windows = WindowAttention(inner, (3, 5), 2, relative=True)
    torch.nn.init.normal_(windows.vertical)
    torch.nn.init.normal_(windows.horizontal)
    x = torch.randn(2, 15, inner.qkv.in_features)
    filled = torch.zeros(2, 4, 6, x.shape[2])
    filled[:, :3, :5] = x.reshape(2, 3, 5, -1)
    expected = torch.zeros_like(filled)
    for image in range(2):
        for top in (0, 2):
            for left in (0, 2, 4):
                part = filled[image, top : top + 2, left : left + 2]
                expected[image, top : top + 2, left : left + 2] = by_hand(
                    inner, part, windows.vertical, windows.horizontal
                )
    torch.testing.assert_close(windows(x), expected[:, :3, :5].flatten(1, 2), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_relative_positions_start_at_zero_and_one_window_over_all_is_plain_attention() -> None:
    backbone = open_backbone("random:test_vit?class_token=False&global_pool=avg", preprocess=["size=64"])
    x = torch.randn(2, 3, 64, 64)
    (plain,) = Encoder(backbone).eval()(x)
    (windowed,) = WindowedEncoder(backbone, window=4).eval()(x)
    torch.testing.assert_close(windowed, plain, rtol=1e-4, atol=1e-5)
    (narrow,) = WindowedEncoder(backbone, window=2, whole=()).eval()(x)
    assert not torch.allclose(narrow, plain, rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_no_class_token_takes_part() -> None:
    backbone = open_backbone("random:test_vit", preprocess=["size=64"])
    encoder = WindowedEncoder(backbone, window=2).eval()
    (before,) = encoder(torch.ones(1, 3, 64, 64))
    encoder.module.cls_token.fill_(100.0)
    assert torch.equal(encoder(torch.ones(1, 3, 64, 64))[0], before)


def test_the_last_block_of_each_quarter_sees_the_whole_image() -> None:
    """ViT-B: 2, 5, 8 and 11 (detectron2, projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py)."""
    arch = "vit_tiny_patch16_224?depth=12&embed_dim=12&num_heads=1"
    encoder = WindowedEncoder(open_backbone(f"random:{arch}", preprocess=["size=64"]))
    whole = [index for index, block in enumerate(encoder.module.blocks) if not block.attn.window]
    assert whole == [2, 5, 8, 11]
    assert {block.attn.window for block in encoder.module.blocks} == {0, 14}


def test_attention_that_windows_would_change_is_refused() -> None:
    with pytest.raises(BackboneError, match="a plain vision transformer for windowed attention"):
        WindowedEncoder(open_backbone("random:resnet18"))


def test_windows_with_maps_that_vitdet_does_not_have_are_refused() -> None:
    from tasks.openmmlab.adapter import HarnessBackbone

    backbone = open_backbone("random:test_vit", preprocess=["size=64"])
    with pytest.raises(RequestError, match="windowed attention with the bare last map"):
        HarnessBackbone(backbone, layers=(0, 1), window=2)
