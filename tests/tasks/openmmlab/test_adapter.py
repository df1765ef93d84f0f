from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.sources import open_backbone
from tasks.openmmlab import ops
from tasks.openmmlab.model import build_model
from tasks.openmmlab.preprocessor import normalisation
from tests.backbones.building import pixels
from tests.tasks.openmmlab.models import mask_rcnn, upernet


def boxes_and_masks(size: int) -> Any:
    """A sample of mmdet: two objects with their masks."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    boxes = torch.tensor([[8.0, 8, 60, 70], [50, 40, 110, 120]])
    masks = torch.zeros(2, size, size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    sample = DetDataSample(metainfo={"img_shape": (size, size), "ori_shape": (size, size), "scale_factor": (1.0, 1.0)})
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([0, 2]), masks=BitmapMasks(masks.numpy(), size, size)
    )
    return sample


def regions(size: int, ignore: int = 255) -> Any:
    """A sample of mmseg: three classes in stripes, and pixels to be ignored."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    labels = (torch.arange(size) * 3 // size).repeat(size, 1)
    labels[:8] = ignore
    sample = SegDataSample(metainfo={"img_shape": (size, size), "ori_shape": (size, size)})
    sample.gt_sem_seg = PixelData(data=labels[None])
    return sample


def loss_of(model: nn.Module, images: torch.Tensor, sample: Any) -> torch.Tensor:
    data = model.data_preprocessor({"inputs": list(images), "data_samples": [sample] * len(images)}, True)
    return model.parse_losses(model.loss(data["inputs"], data["data_samples"]))[0]


@pytest.fixture(scope="module", autouse=True)
def operators() -> None:
    ops.provide()


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return open_backbone("random:resnet18")


def test_a_mask_rcnn_learns_and_predicts_on_any_network(resnet: Backbone) -> None:
    torch.manual_seed(0)
    model = build_model(mask_rcnn(resnet, size=128), "mmdet")
    state = resnet.module.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in model.backbone.encoder.module.state_dict().items())
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = loss_of(model.train(), pixels(1, 128), boxes_and_masks(128))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.backbone.parameters())
    data = model.eval().data_preprocessor({"inputs": list(pixels(1, 128)), "data_samples": [boxes_and_masks(128)]})
    with torch.no_grad():
        (found,) = model.predict(data["inputs"], data["data_samples"])
    assert found.pred_instances.bboxes.shape[1] == 4 and found.pred_instances.masks.shape[1:] == (128, 128)


@pytest.mark.parametrize(
    ("spec", "options"), [("random:resnet18", {}), ("random:test_vit?depth=4", {"layers": (0, 1, 2, 3)})]
)
def test_an_upernet_learns_and_predicts_on_networks_and_transformers(spec: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    backbone = open_backbone(spec, preprocess=["size=64"])
    model = build_model(upernet(backbone, size=64, **options), "mmseg")
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(10):
        loss = loss_of(model.train(), pixels(2, 64), regions(64))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    data = model.eval().data_preprocessor({"inputs": list(pixels(2, 64)), "data_samples": [regions(64)] * 2})
    with torch.no_grad():
        found = model.predict(data["inputs"], data["data_samples"])
    assert found[0].pred_sem_seg.data.shape == (1, 64, 64)


def test_a_frozen_encoder_keeps_weights_and_statistics_and_still_norms_keep_statistics(resnet: Backbone) -> None:
    from tasks.openmmlab.adapter import HarnessBackbone

    def after_a_step(**options: bool) -> tuple[HarnessBackbone, bool, bool]:
        adapter = HarnessBackbone(resnet, **options).train()
        before = {name: tensor.clone() for name, tensor in adapter.encoder.module.state_dict().items()}
        sum(m.sum() for m in adapter(torch.randn(2, 3, 64, 64)) if m.requires_grad)
        after = adapter.encoder.module.state_dict()
        still = all(torch.equal(before[n], after[n]) for n in before if "running" in n or "tracked" in n)
        return adapter, still, any(p.requires_grad for p in adapter.parameters())

    adapter, still, trained = after_a_step(frozen=True)
    assert still and not trained and not adapter.encoder.training
    assert not any(m.requires_grad for m in adapter(torch.randn(1, 3, 64, 64)))
    assert after_a_step(still_norm=True)[1:] == (True, True)
    assert after_a_step()[1:] == (False, True)


def test_the_seed_decides_the_heads_initial_weights(resnet: Backbone) -> None:
    first, again, other = (build_model(upernet(resnet, size=64), "mmseg", seed) for seed in (1, 1, 2))
    heads = [torch.cat([p.flatten() for p in model.decode_head.parameters()]) for model in (first, again, other)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize(
    ("spec", "blocks"), [("test_vit?depth=5", 5), ("convnext_atto", 12), ("resnet18?zero_init_last=False", 8)]
)
def test_stochastic_depth_rises_to_its_rate_at_the_last_block_and_changes_no_evaluation(spec: str, blocks: int) -> None:
    from tasks.openmmlab.adapter import HarnessBackbone

    backbone = open_backbone(f"random:{spec}", preprocess=["size=64"])
    adapter = HarnessBackbone(backbone, drop_path=0.5)
    rates = [m.drop_prob for n, m in adapter.named_modules() if n.endswith(("drop_path", "drop_path2"))]
    assert rates == pytest.approx([0.5 * i / (blocks - 1) for i in range(blocks)])
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(adapter.eval()(x)[-1], HarnessBackbone(backbone).eval()(x)[-1])
    torch.manual_seed(0)
    assert not torch.equal(adapter.train()(x)[-1], adapter(x)[-1])


@pytest.mark.parametrize("fed", ["rgb", "bgr"])
@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(),
        Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7), channel_order="bgr"),
        Preprocessing(mean=(103.53, 116.28, 123.675), std=(1.0, 2.0, 3.0), channel_order="bgr", value_range=255),
    ],
)
def test_mmdet_and_mmseg_normalise_as_the_checkpoint_does(preprocessing: Preprocessing, fed: Any) -> None:
    from mmdet.models import DetDataPreprocessor
    from mmseg.models import SegDataPreProcessor

    images = pixels(2, 32)
    given = {"inputs": list(images if fed == "rgb" else images.flip(1))}
    for kind in (DetDataPreprocessor, SegDataPreProcessor):
        found = kind(**normalisation(preprocessing, fed))(dict(given))["inputs"]
        torch.testing.assert_close(torch.stack(list(found)), preprocessing.normalise(images), rtol=1e-5, atol=2e-5)
