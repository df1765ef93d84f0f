"""Images whose logits are a linear function of their pixels, so that what an attack can do is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmark.backbones.backbone import Backbone
from benchmark.data.dataset import Split
from benchmark.task import ImageInputs, Inputs, ShiftInputs
from tasks.robustness.judge import Judge
from tests.backbones.building import PLAIN, Echo, echo
from tests.tasks.robustness.photos import Pictures, features_of

SIZE = 8
AWAY = 60  # of every pixel from black and white, in 255ths: no radius below is clipped


@dataclass(frozen=True)
class World:
    """N images, a linear head on their pixels, and the truth.

    Attributes:
        weight, bias: (C, D), (C,).
        reach: (N,) the least change of all pixels that makes an image be mistaken, in 255ths; below 0 where it already
            is. With w the row of the target less that of another class, it is the least of (w x + b) / |w|_1.
    """

    inputs: ShiftInputs
    judge: Judge
    weight: Tensor
    bias: Tensor
    reach: np.ndarray

    def top1(self, eps: float, rows: np.ndarray | slice = slice(None)) -> float:
        """In percent, under the best possible attack."""
        return 100 * float((self.reach[rows] > eps).mean())


def linear_world(classes: int, count: int = 24, seed: int = 0, backbone: Backbone | None = None) -> World:
    """Labels are what the head says, but for the two images nearest to another class."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    pixels = rng.integers(AWAY, 256 - AWAY, (count, 3, SIZE, SIZE)).astype(np.uint8)
    weight = torch.randn(classes, 3 * SIZE * SIZE, generator=generator)
    flat = torch.from_numpy(pixels).flatten(1).double() / 255
    bias = -(weight.double() @ flat.mean(dim=0)).float()
    logits = flat @ weight.double().T + bias.double()
    ranked = logits.argsort(dim=1, descending=True)
    close = logits.gather(1, ranked[:, :2]).diff().abs()[:, 0].argsort()[:2]
    targets = ranked[:, 0].clone()
    targets[close] = ranked[close, 1]
    apart = (weight[targets][:, None] - weight[None]).double()  # (N, C, D)
    margins = logits.gather(1, targets[:, None]) - logits
    reach = (margins / apart.abs().sum(dim=2)).masked_fill(torch.eye(classes, dtype=torch.bool)[targets], torch.inf)

    ids = pa.array([f"test/{index:03d}" for index in range(count)])
    split = Split("test", ids, targets.numpy(), Pictures(pixels), "test", "test")
    backbone = backbone or echo(PLAIN.override([f"size={SIZE}", "crop_pct=1"]))
    features = features_of(backbone, split)
    names = tuple(f"class{index}" for index in range(classes))
    device = backbone.execution.torch_device
    inputs = ShiftInputs(
        Inputs("world", features, features, names, device, representation="gap"),
        ImageInputs("world", split, split, names, backbone, device, Path("nowhere"), batch_size=5, workers=0),
    )
    judge = Judge(lambda x: linear(x, weight.to(x.device), bias.to(x.device)), "gap", None, "none", 0, {})
    return World(inputs, judge, weight, bias, 255 * reach.amin(dim=1).numpy())


def between(values: np.ndarray, least: float = 0.5, most: float = AWAY) -> float:
    """A number near the middle of `values`, in the widest gap there, so that no image is a matter of rounding."""
    within = np.sort(values[(values > least) & (values < most)])
    middle = within[len(within) // 4 : -(len(within) // 4)]
    widest = int(np.diff(middle).argmax())
    return round(float(middle[widest : widest + 2].mean()), 3)


class Forgetful(Echo):
    """Echoes, but runs out of memory on the way to gradients of more than three images."""

    most = 3

    def _features(self, x, names, layers):
        if x.requires_grad and len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._features(x, names, layers)
