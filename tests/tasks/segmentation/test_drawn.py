"""Heads that learn from drawn pixels: mmseg's own loss where all pixels are taken, an estimate of it where some are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.backbones.sources import open_backbone
from tasks.openmmlab import ops, segmentors
from tasks.openmmlab.model import build_model


@pytest.fixture(scope="module", autouse=True)
def operators() -> None:
    ops.provide()


def losses_of(model: Any, masks: torch.Tensor) -> dict[str, torch.Tensor]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for mask in masks:
        sample = SegDataSample(metainfo={"img_shape": tuple(mask.shape)})
        sample.gt_sem_seg = PixelData(data=mask[None])
        samples.append(sample)
    torch.manual_seed(1)
    images = list(torch.randint(256, (len(masks), 3, 64, 64), dtype=torch.uint8))
    data = model.data_preprocessor({"inputs": images, "data_samples": samples}, True)
    torch.manual_seed(2)  # of dropout
    found: dict[str, torch.Tensor] = model.loss(data["inputs"], data["data_samples"])
    return found


def model_of(pixels: int | None) -> Any:
    from tasks.segmentation.drawn import learn_from_drawn_pixels

    config = segmentors.upernet(open_backbone("random:resnet10t", preprocess=["size=64"]), 5, width=16)
    if pixels is not None:
        learn_from_drawn_pixels(config, pixels)
    return build_model(config, "mmseg").train()


def test_all_pixels_give_the_loss_and_the_gradients_of_mmsegs_heads() -> None:
    masks = torch.randint(5, (2, 64, 64), generator=torch.Generator().manual_seed(0))
    own, ours = model_of(None), model_of(0)
    expected, found = losses_of(own, masks), losses_of(ours, masks)
    for name in ("decode.loss_ce", "aux.loss_ce"):
        torch.testing.assert_close(found[name], expected[name])
        expected[name].backward(retain_graph=True)
        found[name].backward(retain_graph=True)
    wanted = dict(own.named_parameters())
    for name, parameter in ours.named_parameters():
        if wanted[name].grad is not None:
            torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-3, atol=1e-5)


def test_drawn_pixels_estimate_it_without_those_that_have_no_class() -> None:
    masks = torch.randint(5, (2, 64, 64), generator=torch.Generator().manual_seed(0))
    masks[:, :, :32] = 65535
    model = model_of(2048)
    whole = model_of(0)
    found, expected = losses_of(model, masks), losses_of(whole, masks)
    for name in ("decode.loss_ce", "aux.loss_ce"):
        assert found[name].item() == pytest.approx(expected[name].item(), rel=0.05)
        assert found[name].item() != expected[name].item()
