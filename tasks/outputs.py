"""From class scores on the device to the rows that scorers read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmark.errors import DataError
from benchmark.metrics.columns import classification_table, multilabel_table
from benchmark.task import Inputs

_ROWS = 16384


def ranked(scores: Tensor) -> Tensor:
    """The min(5, C) best classes of (N, C) scores, best first; among equal scores the lowest index comes first.

    Rows of `topk` come in an order that differs between devices where scores tie, as votes often do.
    """
    left = scores.clone()
    best = []
    for _ in range(min(5, scores.shape[1])):
        best.append(left.argmax(dim=1))
        left.scatter_(1, best[-1][:, None], -torch.inf)
    return torch.stack(best, dim=1)


def probabilities(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and log-probability of the target, both (N,), of softmax(logits / temperature); logits are (N, C)."""
    confidence, log_prob = [], []
    for block, labels in zip(logits.split(_ROWS), targets.split(_ROWS), strict=True):
        log = torch.log_softmax(block.double() / temperature, dim=1)
        confidence.append(log.amax(dim=1).exp())
        log_prob.append(log.gather(1, labels[:, None])[:, 0])
    return torch.cat(confidence).cpu().numpy(), torch.cat(log_prob).cpu().numpy()


def log_odds(logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    """(N,) log(p / (1 - p)) of the largest probability p of softmax(logits / temperature); logits are (N, C), C > 1.

    Tells images apart where p rounds to 1.
    """
    found = []
    for block in logits.split(_ROWS):
        scaled = block.double() / temperature
        best = scaled.argmax(dim=1, keepdim=True)
        found.append(scaled.gather(1, best)[:, 0] - scaled.scatter(1, best, -torch.inf).logsumexp(dim=1))
    return np.asarray(torch.cat(found).cpu().numpy())


def sums_of_squares(logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    """(N,) the sum over classes of squared probabilities of softmax(logits / temperature); logits are (N, C)."""
    found = [torch.softmax(block.double() / temperature, dim=1).square().sum(dim=1) for block in logits.split(_ROWS)]
    return np.asarray(torch.cat(found).cpu().numpy())


def reported_rows(
    inputs: Inputs,
    scores: Tensor,
    variant: str = "",
    draw: int = 0,
    logits: bool = False,
    temperature: float | None = None,
) -> pa.Table:
    """Rows of one variant and draw for the reported split, for the scorer of its kind of labels.

    Args:
        inputs: for the ids, targets and kind of labels of the reported split.
        scores: (N, C), higher is more likely.
        variant: the setting within the protocol (`k20`), empty where there is one.
        draw: the number of the protocol's own random draw.
        logits: whether softmax(scores) are probabilities, to be stored.
        temperature: of temperature scaling; its probabilities are stored beside the others.

    Raises:
        DataError: a score is not finite.
    """
    test = inputs.test
    if not bool(torch.isfinite(scores).all()):
        raise DataError("finite scores", f"{int((~torch.isfinite(scores)).sum())} that are not", "check the features")
    targets = test.targets.cpu().numpy()
    if inputs.multilabel:
        return multilabel_table(test.ids, targets, scores.cpu().numpy(), variant, draw)
    plain = probabilities(scores, test.targets) if logits else (None, None)
    scaled = (None, None) if temperature is None else probabilities(scores, test.targets, temperature)
    best = torch.cat([ranked(block) for block in scores.split(_ROWS)]).cpu().numpy()
    return classification_table(test.ids, targets, best, len(inputs.classes), variant, draw, *plain, *scaled)
