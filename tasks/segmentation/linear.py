"""A linear classifier of stored patch maps: every image once, whole, no augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmark.protocol import DenseSettings
from benchmark.task import DenseInputs, DenseSplit, Predictions
from tasks.segmentation.descent import DescentSettings, descend
from tasks.segmentation.head import LinearHead, drawn_loss
from tasks.segmentation.labels import Squares, squares_of
from tasks.segmentation.scoring import Reported, counted, enlarged

_BATCH = 16  # reported images per forward pass of the head


class LinearSettings(DenseSettings, DescentSettings):
    """How the head is trained.

    Attributes:
        pixels: of each image of a step, that many pixels are drawn to estimate the mean loss of all of them; 0 takes
            all of them.
    """

    pixels: int = 1024


def fit_linear(
    split: DenseSplit, masks: Squares, protocol: LinearSettings, seed: int, inputs: DenseInputs
) -> tuple[LinearHead, dict[str, list[float]]]:
    """Trains a head; also gives the loss curve."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = LinearHead([maps.shape[0] for maps in split.maps], masks.classes).to(inputs.device)

    def losses(start: int) -> Iterator[Tensor]:
        assert start == 0  # minutes on a CPU: such a training is not resumed
        draws = torch.Generator().manual_seed(seed)
        order = torch.empty(0, dtype=torch.int64)
        while True:
            while len(order) < protocol.batch:
                order = torch.cat([order, torch.randperm(len(split), generator=draws)])
            chosen, order = order[: protocol.batch], order[protocol.batch :]
            seen = [maps.read(chosen.tolist(), inputs.device) for maps in split.maps]
            target = masks.values[chosen].to(inputs.device)
            yield drawn_loss(partial(head.at, seen), target, masks.ignore, protocol.pixels, draws)

    return head, descend(head, losses, protocol, seed, inputs.progress)


def predict_linear(inputs: DenseInputs, protocol: LinearSettings, seed: int) -> Predictions:
    """Trains on all of train and predicts the reported split; nothing is selected."""
    masks = squares_of(inputs.train, inputs.size, len(inputs.classes), inputs.workers, inputs.progress)
    head, curve = fit_linear(inputs.train, masks, protocol, seed, inputs)
    table = counted(Reported.of(inputs), [""], _scores(head, inputs), enlarged)
    details = {
        "train_images": len(inputs.train),
        "input": list(inputs.size),
        "maps": [list(maps.shape) for maps in inputs.train.maps],
        "loss_curve": curve,
    }
    return Predictions(table, details=details)


def _scores(head: LinearHead, inputs: DenseInputs) -> Iterator[list[list[Tensor]]]:
    for start in range(0, len(inputs.test), _BATCH):
        rows = range(start, min(start + _BATCH, len(inputs.test)))
        with torch.inference_mode():  # never around a yield: it would hold for whoever asked
            scores = head([maps.read(rows, inputs.device) for maps in inputs.test.maps])
        for place in range(len(rows)):
            yield [[each[place] for each in scores]]
