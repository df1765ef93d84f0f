"""Heads that gradients go through: their logits are affine in the features, so slopes are differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from benchmark.backbones.backbone import Head
from benchmark.data.imagenet import imagenet_classes
from tasks.robustness.judge import JudgeSettings, judge_of
from tests.tasks.worlds import blobs

FEW = {"lambdas": 3, "lambda_min": 0.1, "lambda_max": 100.0}


@pytest.mark.parametrize("head", ["probe", "own", "mean"])
def test_slopes_of_every_head_are_those_of_its_differences(head: str) -> None:
    world = blobs()
    scale = torch.logspace(-3, 3, 16)  # what the standardiser is for; features off the origin lose digits in float32
    with torch.inference_mode():  # as features come from an encoder
        stretched = [replace(split, features=split.features * scale + 100) for split in (world.train, world.test)]
    stretched = [replace(split, features=split.features.clone()) for split in stretched]
    world = replace(world, train=stretched[0], test=stretched[1], classes=tuple(imagenet_classes())[:6])
    generator = torch.Generator().manual_seed(0)
    world = replace(world, head=Head(torch.randn(1000, 16, generator=generator), None, "avg"))
    judge = judge_of(world, JudgeSettings(name="test", head=head, **FEW), 0)
    features = world.test.features[:5].clone().requires_grad_()
    logits = judge.logits(features)
    assert logits.requires_grad and torch.equal(logits.detach(), judge.logits(features.detach()))
    jacobian = torch.stack([torch.autograd.grad(row.sum(), features, retain_graph=True)[0] for row in logits.T], dim=1)
    if head == "mean":  # of cosines: linear in the direction
        assert ((jacobian * features[:, None]).sum(dim=2).abs() < 1e-4).all()
        means = normalize(features.detach(), dim=1)
        assert (judge.logits(means) - logits).abs().max() < 1e-5
        return
    step = scale * torch.randn(5, 16, generator=generator)
    moved = judge.logits(features.detach() + step).double() - logits.detach().double()
    expected = (jacobian.double() * step[:, None].double()).sum(dim=2)
    torch.testing.assert_close(expected, moved, rtol=1e-3, atol=1e-3 * float(moved.abs().max()))
