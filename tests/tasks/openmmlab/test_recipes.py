from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.backbones.sources import open_backbone
from benchmark.data.annotations import IGNORE
from benchmark.errors import RequestError
from tasks.openmmlab import detectors, ops, segmentors
from tasks.openmmlab.model import build_model
from tests.backbones.building import pixels
from tests.tasks.openmmlab.test_adapter import boxes_and_masks, loss_of, regions


@pytest.fixture(scope="module", autouse=True)
def operators() -> None:
    ops.provide()


VIT = "random:vit_tiny_patch16_224?depth=4&embed_dim=48&num_heads=2"
DETECTORS: dict[str, tuple[str, Callable[..., dict[str, Any]], dict[str, Any]]] = {
    "Faster R-CNN C4": ("random:resnet10t", detectors.c4, {}),
    "Mask R-CNN C4": ("random:resnet10t", detectors.c4, {"masks": True}),
    "Mask R-CNN FPN": ("random:resnet10t", detectors.mask_rcnn_fpn, {}),
    "RetinaNet, frozen": ("random:resnet10t", detectors.retinanet, {"frozen": True}),
    "ViTDet": (VIT, detectors.vitdet, {"window": 3}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_trains_all_that_it_says_and_nothing_else(name: str) -> None:
    spec, recipe, options = DETECTORS[name]
    config = recipe(open_backbone(spec, preprocess=["size=64"]), 3, **options)
    if "rcnn" in config["train_cfg"]:
        config["train_cfg"].rpn_proposal.update(nms_pre=50, max_per_img=20)
        config["train_cfg"].rcnn.sampler.num = 8
    model = build_model(config, "mmdet").train()
    sample = boxes_and_masks(64)
    sample.gt_instances.bboxes.clamp_(max=63)
    loss = loss_of(model, pixels(2, 64), sample)  # one image gives a BatchNorm of the FPN one value per channel
    loss.backward()
    assert loss.isfinite()
    learning = {n: p.grad is not None for n, p in model.named_parameters() if p.requires_grad}
    unused = {n for n, learns in learning.items() if not learns and "cls_token" not in n and "module.norm" not in n}
    assert not unused
    assert any(n.startswith("backbone.") for n in learning) != options.get("frozen", False)


def test_the_settings_are_those_of_the_protocols() -> None:
    """protocols.md; MoCo's and ViTDet's configurations of detectron2."""
    network, vit = (open_backbone(spec, preprocess=["size=64"]) for spec in ("random:resnet10t", VIT))
    c4 = detectors.c4(network, 20)
    assert c4["roi_head"].shared_head.extra_norm and c4["roi_head"].bbox_head.num_classes == 20
    assert c4["roi_head"].bbox_roi_extractor.roi_layer == {"type": "RoIAlign", "output_size": 14, "sampling_ratio": 0}
    vitdet = detectors.vitdet(vit, 80)
    assert vitdet["backbone"].window == 14 and vitdet["rpn_head"].num_convs == 2
    assert vitdet["roi_head"].bbox_head.type == "Shared4Conv1FCBBoxHead"
    assert vitdet["roi_head"].mask_head.norm_cfg.type == "LayerNorm2d"
    upernet = segmentors.upernet(vit, 150, layers=(0, 1, 2, 3))
    assert tuple(upernet["decode_head"].pool_scales) == (1, 2, 3, 6)
    assert upernet["auxiliary_head"].loss_decode.loss_weight == 0.4
    assert upernet["decode_head"].ignore_index == upernet["auxiliary_head"].ignore_index == 65535
    assert upernet["decode_head"].channels == 48  # as wide as the transformer


def test_a_detector_of_small_images_has_anchors_and_levels_in_proportion() -> None:
    """The levels against mmdet's own rule: a region of side s on images of half the size is where 2 s was."""
    network = open_backbone("random:resnet10t", preprocess=["size=64"])
    sides = torch.tensor([20.0, 40.0, 56.0, 90.0, 111.0, 130.0, 300.0])
    rois = torch.stack([torch.zeros(7), *[torch.zeros(7)] * 2, sides, sides], dim=1)
    halved = rois * torch.tensor([1, 0.5, 0.5, 0.5, 0.5])

    def parts(scale: float) -> tuple[Any, list[torch.Tensor]]:
        config = detectors.mask_rcnn_fpn(network, 3)
        detectors.rescaled(config, scale)
        model = build_model(config, "mmdet")
        return model.roi_head, model.rpn_head.anchor_generator.base_anchors

    (whole, anchors), (half, smaller) = parts(1.0), parts(0.5)
    assert all(torch.equal(one / 2, other) for one, other in zip(anchors, smaller, strict=True))
    for name in ("bbox_roi_extractor", "mask_roi_extractor"):
        own, ours = getattr(whole, name), getattr(half, name)
        expected = own.map_roi_levels(rois, 4)
        assert expected.unique().tolist() == [0, 1, 2] and torch.equal(ours.map_roi_levels(halved, 4), expected)
        assert own.finest_scale == 56  # as shipped
    retina = detectors.retinanet(network, 3)
    before = retina["bbox_head"].anchor_generator.octave_base_scale
    detectors.rescaled(retina, 0.5)
    assert retina["bbox_head"].anchor_generator.octave_base_scale == before / 2


def test_one_regressor_and_one_mask_can_serve_all_classes_and_low_scores_can_be_kept() -> None:
    network = open_backbone("random:resnet10t", preprocess=["size=64"])
    config = detectors.mask_rcnn_fpn(network, 7)
    detectors.class_agnostic(config)
    detectors.least_score(config, 0.25)
    head = build_model(config, "mmdet").roi_head
    assert head.bbox_head.fc_reg.out_features == 4 and head.bbox_head.fc_cls.out_features == 8
    assert head.mask_head.conv_logits.out_channels == 1 and head.test_cfg.score_thr == 0.25
    retina = detectors.retinanet(network, 7)
    detectors.class_agnostic(retina)
    detectors.least_score(retina, 0.25)
    assert build_model(retina, "mmdet").bbox_head.test_cfg.score_thr == 0.25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "recipe", "options"),
    [
        ("random:resnet10t", segmentors.upernet, {}),
        (VIT, segmentors.upernet, {"layers": (0, 1, 2, 3)}),
        ("random:resnet18", segmentors.fcn, {}),
    ],
)
def test_every_segmentor_trains_and_predicts(
    spec: str, recipe: Callable[..., dict[str, Any]], options: dict[str, Any]
) -> None:
    model = build_model(recipe(open_backbone(spec, preprocess=["size=64"]), 3, **options), "mmseg").train()
    loss = loss_of(model, pixels(2, 64), regions(64, IGNORE))
    loss.backward()
    assert loss.isfinite()
    with torch.no_grad():
        data = model.eval().data_preprocessor({"inputs": [pixels(1, 64)[0]], "data_samples": [regions(64, IGNORE)]})
        (found,) = model.predict(data["inputs"], data["data_samples"])
    assert found.pred_sem_seg.data.shape == (1, 64, 64)


def test_encoders_that_a_recipe_cannot_stand_on_are_refused() -> None:
    network, vit = (open_backbone(spec, preprocess=["size=64"]) for spec in ("random:resnet10t", VIT))
    with pytest.raises(RequestError, match="a plain transformer, for ViTDet"):
        detectors.vitdet(network, 3)
    with pytest.raises(RequestError, match=r"strides 4, 8, 16 and 32 for an FPN.*strides 16"):
        detectors.mask_rcnn_fpn(vit, 3)
    with pytest.raises(RequestError, match="four maps for UPerNet; found 1"):
        segmentors.upernet(vit, 3)
