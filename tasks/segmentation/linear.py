"""A linear classifier of patches, trained by gradient descent on the loss of pixels.

The head is the one of DINOv2's evaluation (its `linear_head.py` for mmsegmentation): batch normalisation and a 1 x 1
convolution, whose scores are enlarged bilinearly. Where several layers are seen, each has its own and their enlarged
scores are added: on maps of one size this is the same function as one head on their concatenation, and maps of other
sizes (stages of a convolutional network) need not be brought to one size first, many times their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, grid_sample

from benchmark.protocol import DenseSettings
from benchmark.task import DenseInputs, DenseSplit, Predictions
from tasks.segmentation.labels import Squares, squares_of
from tasks.segmentation.scoring import counted, enlarged

_BATCH = 16  # reported images per forward pass of the head


class LinearSettings(DenseSettings):
    """How the head is trained.

    Attributes:
        iterations: steps of AdamW.
        batch: images per step.
        lr, weight_decay: of AdamW.
        warmup: share of the iterations in which the rate rises linearly from `warmup_from` of its value; then it falls
            linearly to 0 over all of them (poly, power 1).
        warmup_from: see `warmup`.
        pixels: of each image of a step, that many pixels are drawn to estimate the mean loss of all of them.
    """

    iterations: int
    batch: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 1500 / 40_000
    warmup_from: float = 1e-6
    pixels: int = 1024


class LinearHead(nn.Module):
    """Scores of patch maps.

    Args:
        widths: channels of the map of each layer.
        classes: C.
    """

    def __init__(self, widths: list[int], classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        convs = [nn.Conv2d(width, classes, 1, bias=place == 0) for place, width in enumerate(widths)]
        for conv in convs:
            nn.init.normal_(conv.weight, std=0.01)  # as all of mmsegmentation's decode heads
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        self.convs, self.classes = nn.ModuleList(convs), classes

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Scores (B, C, h, w) per size of map: those of one size are added."""
        by_size: dict[torch.Size, Tensor] = {}
        for norm, conv, found in zip(self.norms, self.convs, maps, strict=True):
            scores = conv(norm(found))
            size = scores.shape[-2:]
            by_size[size] = by_size[size] + scores if size in by_size else scores
        return list(by_size.values())

    def at(self, maps: list[Tensor], grid: Tensor) -> Tensor:
        """The enlarged and added scores at some points only, (B, C, P).

        Interpolation and convolution commute, so each layer takes them in the order that moves fewer numbers.

        Args:
            maps: as for `forward`.
            grid: (B, 1, P, 2) points as `grid_sample` has them.
        """
        added: list[Tensor] = []
        for norm, conv, found in zip(self.norms, self.convs, maps, strict=True):
            narrow = found.shape[1] < self.classes
            added.append(conv(sampled(norm(found), grid)) if narrow else sampled(conv(norm(found)), grid))
        return torch.stack(added).sum(dim=0)[:, :, 0]


def sampled(maps: Tensor, grid: Tensor) -> Tensor:
    """(B, C, 1, P) values of maps (B, C, h, w), enlarged bilinearly, at the points of a grid (B, 1, P, 2)."""
    return grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def rate(step: int, protocol: LinearSettings) -> float:
    """The share of the learning rate at a step (mmcv's poly policy with power 1 and linear warm-up)."""
    share = 1 - step / protocol.iterations
    warmup = protocol.warmup * protocol.iterations
    if step < warmup:
        share *= 1 - (1 - step / warmup) * (1 - protocol.warmup_from)
    return share


def drawn_loss(
    scores_at: Callable[[Tensor], Tensor], masks: Tensor, ignore: int, pixels: int, draws: torch.Generator
) -> Tensor:
    """The mean cross-entropy of `pixels` drawn pixels of each image: an estimate of that of all labelled pixels.

    Bilinear interpolation needs no whole enlarged map to give its values at a few points.

    Args:
        scores_at: from a grid (B, 1, P, 2) of points to scores (B, C, P).
        masks: (B, H, W) classes or `ignore`.
        ignore: the value of pixels without a class.
        pixels: how many; 0 for all of them.
        draws: on the CPU, so that every device draws alike.
    """
    height, width = masks.shape[-2:]
    if pixels:
        places = torch.randint(height * width, (len(masks), pixels), generator=draws).to(masks.device)
    else:
        places = torch.arange(height * width, device=masks.device).expand(len(masks), -1)
    targets = masks.flatten(1).gather(1, places).long()
    x, y = places % width, places.div(width, rounding_mode="floor")
    grid = torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=-1) * 2 - 1
    scores = scores_at(grid[:, None].float())
    if not bool((targets != ignore).any()):
        return scores.sum() * 0.0  # nothing labelled was drawn
    return cross_entropy(scores, targets, ignore_index=ignore)


def fit_linear(
    split: DenseSplit, masks: Squares, protocol: LinearSettings, seed: int, inputs: DenseInputs
) -> tuple[LinearHead, float]:
    """Trains a head; also gives the mean loss of the last tenth of the steps."""
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = LinearHead([maps.shape[0] for maps in split.maps], masks.classes).to(inputs.device)
    optimiser = torch.optim.AdamW(head.parameters(), protocol.lr, weight_decay=protocol.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, protocol))
    order = torch.empty(0, dtype=torch.int64)
    losses: list[float] = []
    head.train()
    for step in range(protocol.iterations):
        while len(order) < protocol.batch:
            order = torch.cat([order, torch.randperm(len(split), generator=draws)])
        chosen, order = order[: protocol.batch], order[protocol.batch :]
        seen = [maps.read(chosen.tolist(), inputs.device) for maps in split.maps]
        target = masks.values[chosen].to(inputs.device)
        loss = drawn_loss(partial(head.at, seen), target, masks.ignore, protocol.pixels, draws)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        inputs.progress(step + 1, protocol.iterations, "steps")
    tail = losses[-max(1, len(losses) // 10) :]
    return head.eval(), sum(tail) / len(tail)


def predict_linear(inputs: DenseInputs, protocol: LinearSettings, seed: int) -> Predictions:
    """Trains on all of train and predicts the reported split; nothing is selected."""
    masks = squares_of(inputs.train, inputs.size, len(inputs.classes), inputs.workers, inputs.progress)
    head, loss = fit_linear(inputs.train, masks, protocol, seed, inputs)
    table = counted(inputs, [""], _scores(head, inputs), enlarged)
    details = {
        "train_images": len(inputs.train),
        "input": list(inputs.size),
        "maps": [list(maps.shape) for maps in inputs.train.maps],
        "last_loss": round(loss, 4),
    }
    return Predictions(table, details=details)


def _scores(head: LinearHead, inputs: DenseInputs) -> Iterator[list[list[Tensor]]]:
    for start in range(0, len(inputs.test), _BATCH):
        rows = range(start, min(start + _BATCH, len(inputs.test)))
        with torch.inference_mode():  # never around a yield: it would hold for whoever asked
            scores = head([maps.read(rows, inputs.device) for maps in inputs.test.maps])
        for place in range(len(rows)):
            yield [[each[place] for each in scores]]
