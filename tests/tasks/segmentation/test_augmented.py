"""`seg/linear`: a step is that of an independent formulation, a stopped training ends as one that was not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from benchmark.backbones.sources import open_backbone
from benchmark.data.annotations import IGNORE
from benchmark.data.source import open_source
from benchmark.errors import ResultError
from benchmark.metrics.registry import score
from benchmark.task import ImageInputs
from tasks.segmentation import head as heads
from tasks.segmentation.augmented import AugmentedSettings, predict_augmented
from tasks.segmentation.crops import training_views
from tasks.segmentation.descent import DescentSettings, descend, rate
from tasks.segmentation.head import LinearHead, whole_loss
from tasks.segmentation.task import Segmentation

SMALL = AugmentedSettings(name="p", iterations=6, batch=3, size=64, short=64, long=256, lr=0.05)


def inputs_of(scratch: Path, **options: Any) -> ImageInputs:
    data = open_source("s", "scenes:?train=12&test=6&classes=4&size=64&difficulty=0")
    backbone = open_backbone("random:test_vit", preprocess=["size=64"])
    return ImageInputs(
        dataset="s",
        train=data.splits["train"],
        test=data.splits["test"],
        classes=data.mask_classes,
        backbone=backbone,
        device=torch.device("cpu"),
        scratch=scratch,
        workers=0,
        **options,
    )


@pytest.mark.parametrize("strip", [2**24, 500])
def test_the_loss_of_all_pixels_and_its_gradient_are_those_of_enlarged_scores(
    monkeypatch: pytest.MonkeyPatch, strip: int
) -> None:
    monkeypatch.setattr(heads, "_STRIP", strip)
    torch.manual_seed(0)
    fine, rough = torch.randn(2, 5, 6, 7, requires_grad=True), torch.randn(2, 5, 3, 3, requires_grad=True)
    masks = torch.randint(0, 5, (2, 24, 30), dtype=torch.int32)
    masks[:, :7] = IGNORE
    loss = whole_loss([fine, rough], masks, IGNORE)
    (2 * loss).backward()
    found = [fine.grad.clone(), rough.grad.clone()]  # type: ignore[union-attr]
    fine.grad = rough.grad = None
    whole = sum(interpolate(each, (24, 30), mode="bilinear", align_corners=False) for each in (fine, rough))
    expected = cross_entropy(whole, masks.long(), ignore_index=IGNORE, reduction="none").mean()
    (2 * expected).backward()
    torch.testing.assert_close(loss, expected)
    for mine, each in zip(found, (fine, rough), strict=True):
        torch.testing.assert_close(mine, each.grad)


def test_the_loss_is_mmsegs() -> None:
    pytest.importorskip("mmcv", reason="the dense extra is not installed")
    from tasks.openmmlab.ops import provide

    provide()
    from mmseg.models.losses import CrossEntropyLoss

    torch.manual_seed(0)
    scores, masks = torch.randn(2, 5, 6, 7), torch.randint(0, 5, (2, 24, 30))
    masks[:, :7] = 255
    whole = interpolate(scores, (24, 30), mode="bilinear", align_corners=False)
    theirs = CrossEntropyLoss(use_sigmoid=False, loss_weight=1.0)(whole, masks, ignore_index=255)
    torch.testing.assert_close(whole_loss([scores], masks, 255), theirs)


def test_nothing_labelled_gives_no_gradient_and_no_nan() -> None:
    scores = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = whole_loss([scores], torch.full((1, 8, 8), IGNORE, dtype=torch.int32), IGNORE)
    loss.backward()
    assert float(loss.detach()) == 0 and scores.grad is not None and not scores.grad.any()


@pytest.mark.parametrize("layers", [1, 2])
def test_the_head_after_some_steps_is_that_of_the_recipe_written_out(tmp_path: Path, layers: int) -> None:
    """One BatchNorm and convolution on concatenated maps, AdamW, mmcv's rates, the mean loss of all pixels."""
    inputs, protocol = inputs_of(tmp_path), SMALL.model_copy(update={"layers": layers})
    norm, conv = nn.BatchNorm2d(64 * layers), nn.Conv2d(64 * layers, 5, 1)
    torch.manual_seed(3)
    start = LinearHead([64] * layers, 5)
    with torch.no_grad():
        conv.weight.copy_(torch.cat([each.weight for each in start.convs], dim=1))
        conv.bias.zero_()
    optimiser = torch.optim.AdamW([*norm.parameters(), *conv.parameters()], 0.05, weight_decay=1e-4)
    views = training_views(inputs.train, protocol, inputs.backbone.preprocessing, 3, workers=0)
    expected = []
    for step, (images, masks) in enumerate(itertools.islice(views, 6)):
        share, warm = 1 - step / 6, 6 * 1500 / 40000
        share *= 1 - (1 - step / warm) * (1 - 1e-6) if step < warm else 1
        optimiser.param_groups[0]["lr"] = 0.05 * share
        maps = inputs.backbone.encode(images, [], layers=layers).grid(layers)
        whole = interpolate(conv(norm(maps)), (64, 64), mode="bilinear", align_corners=False)
        loss = cross_entropy(whole, masks.long(), ignore_index=IGNORE, reduction="none").mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        expected.append(float(loss.detach()))
    found = predict_augmented(inputs, protocol, seed=3)
    curve = found.details["loss_curve"]
    assert curve["step"] == [1, 2, 3, 4, 5, 6] and curve["loss"] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert expected[-1] < expected[1]
    assert found.details["crop"] == 64 and found.details["maps"] == [[64, 4, 4]] * layers
    state = torch.load(tmp_path / "head.pth", weights_only=True)["model"]
    weights = torch.cat([state[f"convs.{place}.weight"] for place in range(layers)], dim=1)
    torch.testing.assert_close(weights, conv.weight.detach(), rtol=1e-3, atol=1e-3)


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    protocol = SMALL.model_copy(update={"iterations": 120, "batch": 2, "dropout": 0.1})
    whole = predict_augmented(inputs_of(tmp_path / "same"), protocol, seed=0)

    def stop(done: int, total: int, what: str) -> None:
        if done == 77:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_augmented(inputs_of(tmp_path / "cut" / "same", progress=stop), protocol, seed=0)
    state = torch.load(tmp_path / "cut" / "same" / "head.pth", weights_only=True)
    assert state["iteration"] == 50
    seen: list[int] = []
    torch.manual_seed(99)
    again = inputs_of(tmp_path / "cut" / "same", progress=lambda done, total, what: seen.append(done))
    found = predict_augmented(again, protocol, seed=0)
    assert found.table.equals(whole.table) and found.details == whole.details and seen[0] == 51
    ends = [torch.load(path / "same" / "head.pth", weights_only=True) for path in (tmp_path, tmp_path / "cut")]
    for name, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][name])
    with pytest.raises(ResultError, match="the training same, seed 1"):
        predict_augmented(inputs_of(tmp_path / "same"), protocol, seed=1)


def test_the_encoder_stays_as_it_is(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path)
    before = {name: value.clone() for name, value in inputs.backbone.module.state_dict().items()}
    predict_augmented(inputs, SMALL, seed=0)
    assert not inputs.backbone.module.training
    for name, value in inputs.backbone.module.state_dict().items():
        assert torch.equal(value, before[name])


def test_it_learns_scenes_and_stores_what_people_look_at(tmp_path: Path) -> None:
    protocol = SMALL.model_copy(update={"iterations": 100, "lr": 0.01, "batch": 6, "ratios": (1.0, 1.5)})
    found = predict_augmented(inputs_of(tmp_path), protocol, seed=0)
    metrics = {metric.name: metric.value for metric in score(found.table)}
    assert metrics["aAcc"] > 60 and found.selection == "none"
    assert sum(content is not None for content in found.table["map"].to_pylist()) == 6


def test_published_budgets_are_those_of_the_recipes() -> None:
    linear, four, three = (Segmentation.protocols[name] for name in ("seg/linear", "seg/linear-4", "seg/linear-dinov3"))
    for protocol in (linear, four, three):
        assert isinstance(protocol, AugmentedSettings)
        assert (protocol.iterations, protocol.batch, protocol.lr, protocol.size) == (40_000, 16, 1e-3, 512)
        assert protocol.warmup * protocol.iterations == 1500 and protocol.warmup_from == 1e-6
        assert (protocol.short, protocol.long, protocol.ratios, protocol.cat_max_ratio) == (512, 2048, (0.5, 2.0), 0.75)
        assert Segmentation().needs_of(protocol) == ("backbone",)
    assert (linear.weight_decay, linear.layers, linear.dropout, linear.decay) == (1e-4, 1, 0, "linear")
    assert four == linear.model_copy(update={"layers": 4, "name": four.name, "summary": four.summary})
    assert (three.weight_decay, three.decay, three.dropout) == (1e-3, "cosine", 0.1)
    assert rate(20_000, three) == pytest.approx(0.5) and rate(10_000, three) == pytest.approx(0.5 * (1 + 2**-0.5))
    assert rate(10_000, linear) == pytest.approx(0.75) and rate(0, three) == pytest.approx(1e-6)


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    def losses(start: int) -> Any:
        while True:
            yield model.weight.sum() * np.inf

    model = nn.Linear(2, 2)
    with pytest.raises(ResultError, match="a finite loss"):
        descend(model, losses, DescentSettings(name="p", iterations=3), 0, lambda *_: None)
