"""Two probes of colour: how well colours alone tell the classes apart, and how much of them the features hold.

Both learn from training images and are asked about the reported ones. An image's colours are the square roots of its
histogram's shares, of which the distance is Hellinger's: it counts a rare colour for more than its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.metrics.changes import Histogram
from benchmark.task import ShiftInputs, SplitFeatures
from tasks.changes.colour import histogram
from tasks.logreg import LogisticHead, fit_logistic
from tasks.robustness.asked import images_at, pixels_of
from tasks.robustness.judge import JudgeSettings
from tasks.sampling import class_ranks, subset
from tasks.selection import Standardiser, parts_of
from tasks.solvers.ridge import fit_ridge

PENALTIES = torch.logspace(-1, 7, 17, dtype=torch.float64)
"""Of ridge regression on standardised features; 10^3 is best for 540 photos of clothes and 1,280 features."""


class HistogramSettings(JudgeSettings):
    """What the probes of colour see.

    Attributes:
        bins: parts that each of red, green and blue is cut into. Of 2, 4 and 8, all and with square roots or without,
            4 with them tell ten garments apart best in a cross-validation of their training images.
        train_images: the probes learn from about so many training images at most, equally many of each class (two at
            least), since their pixels have to be read again; None for all.
    """

    bins: Literal[2, 4, 8] = 4
    train_images: int | None = 20_000


@dataclass(frozen=True)
class ColourProbe:
    """Fitted probes.

    Attributes:
        head: the linear task's head, on the colours of images.
        scale: of the features that the regression stands on.
        weights: (D, bins^3) float64 of the regression.
        mean: (bins^3,) float64, its intercept: the mean colours of train.
        bins: parts of each channel.
        details: JSON-able facts.
    """

    head: LogisticHead
    scale: Standardiser
    weights: Tensor
    mean: Tensor
    bins: int
    details: dict[str, Any]

    def colours(self, images: Tensor) -> Tensor:
        """(B, bins^3) float32 of uint8 images (B, 3, H, W)."""
        return colours(images, self.bins)

    def predicted(self, features: Tensor) -> Tensor:
        """(M, D) features -> (M, bins^3) float64 the colours that they speak of."""
        blocks = features.split(8192)
        return torch.cat([_standard(self.scale, block) @ self.weights + self.mean for block in blocks])

    def asked(self, found: Tensor, features: Tensor) -> Histogram:
        """What both say of M images, by their colours (M, bins^3) and their features (M, D)."""
        truth = found.double()
        residual = ((truth - self.predicted(features)) ** 2).sum(dim=1)
        total = ((truth - truth.mean(dim=0)) ** 2).sum(dim=1)
        best = self.head.logits(found).argmax(dim=1)
        return Histogram(best.cpu().numpy(), residual.cpu().numpy(), total.cpu().numpy())


def colours(images: Tensor, bins: int) -> Tensor:
    """The square root of the share of pixels in each cell of the RGB cube: float32 (B, bins^3), rows of length 1."""
    return histogram(images, bins).sqrt_().float()


def fit_colour_probe(inputs: ShiftInputs, protocol: HistogramSettings, seed: int) -> ColourProbe:
    """Reads training images and fits both probes; penalties are chosen on what the head's is chosen on.

    The regression minimises the squared error on colours; features are standardised, the intercept is free.

    Raises:
        NotApplicable: nothing can be held out to choose a penalty.
        DataError: an image that cannot be read.
    """
    learned = inputs.features
    rows = _learned_rows(learned.train, len(learned.classes), protocol.train_images, seed)
    features = replace(learned, train=subset(learned.train, rows))
    split = images_at(inputs.images.train, learned.train.ids, rows, "colours")
    seen = replace(features, train=_coloured(inputs, split, features.train, protocol.bins))
    if protocol.own_val and learned.val is not None and inputs.images.val is not None:
        rows = np.arange(len(learned.val))
        split = images_at(inputs.images.val, learned.val.ids, rows, "colours")
        seen = replace(seen, val=_coloured(inputs, split, learned.val, protocol.bins))
    head = fit_logistic(seen, protocol, seed)
    known, wanted = (parts_of(one, protocol.held_out, protocol.own_val, seed) for one in (features, seen))
    scale, mean = Standardiser.of(known.fit.features), _mean(wanted.fit)
    weights = fit_ridge(_standard(scale, known.fit.features), wanted.fit.features.double() - mean, PENALTIES)
    held_out, truth = _standard(scale, known.val.features), wanted.val.features.double() - mean
    errors = torch.stack([((held_out @ one - truth) ** 2).sum() for one in weights])
    chosen = int(errors.argmin())
    scale, mean = Standardiser.of(known.everything.features), _mean(wanted.everything)
    final = fit_ridge(
        _standard(scale, known.everything.features),
        wanted.everything.features.double() - mean,
        PENALTIES[chosen : chosen + 1],
    )[0]
    details = {
        "bins": protocol.bins,
        "train_images": len(rows),
        "classifier": head.details,
        "regression": {
            "penalty": float(PENALTIES[chosen]),
            "curve": [
                {"penalty": float(penalty), "error": float(f"{float(error) / len(truth):.6g}")}
                for penalty, error in zip(PENALTIES, errors, strict=True)
            ],
        },
    }
    return ColourProbe(head, scale, final, mean, protocol.bins, details)


def _learned_rows(train: SplitFeatures, classes: int, most: int | None, seed: int) -> np.ndarray:
    if most is None or len(train) <= most:
        return np.arange(len(train))
    return np.flatnonzero(class_ranks(train, seed) < max(2, most // classes))


def _coloured(inputs: ShiftInputs, split: Split, features: SplitFeatures, bins: int) -> SplitFeatures:
    """The same images, their colours for features."""
    found = torch.zeros(len(split), bins**3, device=features.features.device)
    for pixels, here in pixels_of(inputs, split):
        found[torch.from_numpy(here).to(found.device)] = colours(pixels, bins)
        inputs.images.progress(int(here[-1]) + 1, len(split), "colours of train")
    return replace(features, features=found)


def _standard(scale: Standardiser, features: Tensor) -> Tensor:
    """(N, D) float64: in float32 the last digits would outweigh a small penalty."""
    return (features.double() - scale.mean) * scale.scale


def _mean(split: SplitFeatures) -> Tensor:
    return split.features.mean(dim=0, dtype=torch.float64)
