import pytest
import torch

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from torch.nn.functional import conv2d, conv_transpose2d, gelu, max_pool2d

from tasks.openmmlab.pyramid import SimplePyramid


def norm(x: torch.Tensor) -> torch.Tensor:
    """LayerNorm over channels of a fresh layer, epsilon 1e-6 (detectron2, layers/batch_norm.py, LayerNorm)."""
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()


@torch.no_grad()
def test_levels_are_those_of_vitdet_computed_by_hand() -> None:
    torch.manual_seed(0)
    pyramid = SimplePyramid(16, 8, extra=1)
    x = torch.randn(2, 16, 4, 6)
    state = pyramid.state_dict()

    def up(level: int, index: int, maps: torch.Tensor) -> torch.Tensor:
        weight, bias = (state[f"levels.{level}.{index}.{kind}"] for kind in ("weight", "bias"))
        return conv_transpose2d(maps, weight, bias, stride=2)

    def out(level: int, index: int, maps: torch.Tensor) -> torch.Tensor:
        narrow = norm(conv2d(maps, state[f"levels.{level}.{index}.weight"]))
        return norm(conv2d(narrow, state[f"levels.{level}.{index + 2}.weight"], padding=1))

    expected = [
        out(0, 4, up(0, 3, gelu(norm(up(0, 0, x))))),
        out(1, 1, up(1, 0, x)),
        out(2, 0, x),
        out(3, 1, max_pool2d(x, 2)),
    ]
    expected.append(expected[-1][:, :, ::2, ::2])
    found = pyramid((torch.zeros(1), x))
    assert [tuple(m.shape[-2:]) for m in found] == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_it_has_as_many_parameters_as_vitdets_for_vit_b() -> None:
    """By the layers of detectron2's: 768 channels in, 256 out."""
    up = 768 * 384 * 4 + 384 + 2 * 384 + 384 * 192 * 4 + 192, 768 * 384 * 4 + 384
    convolutions = sum(width * 256 + 256 * 256 * 9 + 4 * 256 for width in (192, 384, 768, 768))
    assert sum(p.numel() for p in SimplePyramid(768).parameters()) == sum(up) + convolutions
