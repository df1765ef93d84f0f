from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("mmcv", reason="the dense extra is not installed")

import mmdet
from mmengine.config import Config

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.encoder import Encoder
from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError
from tasks.openmmlab.model import build_model
from tasks.openmmlab.preprocessor import normalisation
from tasks.openmmlab.res5 import HarnessC4, HarnessRes5
from tests.backbones.building import pixels
from tests.tasks.openmmlab.test_adapter import boxes_and_masks, loss_of


@torch.no_grad()
@pytest.mark.parametrize("spec", ["random:resnet18", "random:torchvision:resnet18"])
def test_the_two_halves_on_the_whole_image_are_the_network(spec: str) -> None:
    backbone = open_backbone(spec)
    x = torch.randn(1, 3, 64, 96)
    (c4,) = HarnessC4(backbone).eval()(x)
    assert c4.shape == (1, 256, 4, 6)
    assert torch.equal(HarnessRes5(backbone, extra_norm=False).eval()(c4), Encoder(backbone).eval()(x)[-1])


def test_a_frozen_stage_keeps_its_statistics_while_the_extra_norm_is_trained() -> None:
    head = HarnessRes5(open_backbone("random:resnet18"), frozen=True).train()
    before = {name: tensor.clone() for name, tensor in head.stage.state_dict().items()}
    head(torch.randn(2, 256, 8, 8)).square().sum().backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in head.stage.state_dict().items())
    assert [name for name, p in head.named_parameters() if p.requires_grad] == ["norm.weight", "norm.bias"]
    assert not torch.equal(head.norm.running_mean, torch.zeros(512))


def test_still_norms_of_a_stage_keep_their_statistics_while_its_weights_are_trained() -> None:
    head = HarnessRes5(open_backbone("random:resnet18"), still_norm=True).train()
    before = {name: tensor.clone() for name, tensor in head.stage.named_buffers()}
    head(torch.randn(2, 256, 8, 8)).square().sum().backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in head.stage.named_buffers())
    assert all(p.grad is not None for p in head.parameters()) and head.norm.training


def c4_config(backbone: Backbone) -> dict[str, Any]:
    """mmdet's own Faster R-CNN on C4 with our two halves."""
    folder = Path(mmdet.__file__).parent / ".mim" / "configs" / "_base_" / "models"
    config = Config.fromfile(folder / "faster-rcnn_r50-caffe-c4.py").model
    width = 256
    config.data_preprocessor.update(normalisation(backbone.preprocessing))
    config.backbone = {"type": "HarnessC4", "backbone": backbone, "_delete_": True}
    config.rpn_head.update(in_channels=width, feat_channels=width)
    config.roi_head.shared_head = {"type": "HarnessRes5", "backbone": backbone}
    config.roi_head.bbox_roi_extractor.out_channels = width
    config.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=50)
    config.train_cfg.rcnn.sampler.num = 16
    config.roi_head.bbox_head.update(in_channels=512, num_classes=3)
    config.backbone.pop("_delete_")
    return dict(config)


def test_mmdets_own_faster_rcnn_on_c4_learns_on_the_two_halves() -> None:
    torch.manual_seed(0)
    backbone = open_backbone("random:resnet18")
    model = build_model(c4_config(backbone), "mmdet").train()
    state = backbone.module.state_dict()
    for name, tensor in model.roi_head.shared_head.stage.state_dict().items():
        assert torch.equal(tensor, state[f"layer4.{name}"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss = loss_of(model, pixels(1, 128), boxes_and_masks(128))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in model.parameters())


def test_other_networks_are_refused() -> None:
    with pytest.raises(BackboneError, match="a residual network, whose layer4 works on regions"):
        HarnessC4(open_backbone("random:test_vit"))
