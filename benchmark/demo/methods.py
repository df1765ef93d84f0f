"""Three ways to train the demo's encoder: on labels, on pairs of views, on what is missing from an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.backbones.options import split_options
from benchmark.demo.augment import Augmentation, luma

# 0.2 M parameters, the same for all, so that only the training differs. The output stride leaves a map of 4 x 4 of a
# 64 x 64 image instead of one of 2 x 2, at the same cost.
ARCH = "test_byobnet?output_stride=16"
MEAN = STD = 0.5
ORIENTATIONS = 9  # of the gradients, as in Dalal & Triggs (2005)
FAINT = 0.05  # a histogram of this length keeps 0.7 of it when normalised: noise on a plain ground is not to count


class Method(nn.Module, ABC):
    """An encoder and whatever a way of training puts around it.

    Args:
        classes: width of the classifier; 0 builds the encoder without one.

    Attributes:
        encoder: a timm network, built by name.
    """

    encoder: Any

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        name, written = split_options(ARCH)
        options: dict[str, Any] = {**written, "num_classes": classes}
        encoder: Any = timm.create_model(name, **options)
        self.features = int(encoder.num_features)
        # Channels last: half again as fast on a CPU for layers as narrow as these.
        self.encoder = encoder.to(memory_format=torch.channels_last)

    @abstractmethod
    def loss(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """What a step lowers.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            labels: (B,) int64.
            draws: where the random numbers come from.
        """

    def saved(self) -> dict[str, Tensor]:
        """What the training leaves on disk: all of it, by the names of this module (`encoder.`, `projector.` ...)."""
        return self.state_dict()


def normalise(images: Tensor) -> Tensor:
    """Pixels in [0, 1] to the encoder's input."""
    return ((images - MEAN) / STD).contiguous(memory_format=torch.channels_last)


class Supervised(Method):
    """Cross-entropy on the kind of the subject. Saved as a script for labels does: the network with its classifier."""

    augment = Augmentation(area=(0.4, 1.0), jitter=0.3, hue=0.5)

    def loss(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """Cross-entropy with label smoothing 0.1."""
        logits = self.encoder(normalise(self.augment(images, draws)))
        return functional.cross_entropy(logits, labels, label_smoothing=0.1)

    def saved(self) -> dict[str, Tensor]:
        """The network alone, without a prefix."""
        tensors: dict[str, Tensor] = self.encoder.state_dict()
        return tensors


class Contrastive(Method):
    """SimCLR (Chen et al. 2020): two views of an image are to be closer than views of any others in the batch.

    Attributes:
        temperature: what cosine similarities are divided by.
    """

    augment = Augmentation(area=(0.3, 1.0), jitter=0.4, hue=0.5, grey=0.2, blur=0.2)
    temperature = 0.2

    def __init__(self) -> None:
        super().__init__()
        width = self.features
        self.projector = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 128)
        )

    def loss(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """NT-Xent over the 2 B views (equation 1 of the paper)."""
        views = torch.cat([self.augment(images, draws), self.augment(images, draws)])
        return nt_xent(self.projector(self.encoder(normalise(views))), self.temperature)


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Mean over 2 B views of -log of the softmax share that a view's partner has among all other views.

    Args:
        projections: (2 B, D); rows i and i + B are views of one image.
        temperature: of the cosine similarities.
    """
    z = functional.normalize(projections, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool)
    similarity = (z @ z.T / temperature).masked_fill(itself, float("-inf"))
    return functional.cross_entropy(similarity, torch.arange(len(z)).roll(len(z) // 2))


class Masked(Method):
    """Masked feature prediction (MaskFeat, Wei et al. 2022): the edges of the whole image, from noisy parts of it.

    Some of the patches are hidden and noise lies on the rest. The target is a histogram of oriented gradients in every
    cell, which a small network learns sooner than it learns to repaint pixels.

    Attributes:
        cell: side of a patch and of a cell, in pixels.
    """

    augment = Augmentation(area=(0.4, 1.0), jitter=0.3, hue=0.5)
    cell = 8

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(self.features, 96, 2, 2, bias=False),  # from cells of 16 pixels to those of 8
            nn.BatchNorm2d(96),
            nn.ReLU(),
            nn.Conv2d(96, ORIENTATIONS, 3, padding=1),
        )

    def loss(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """Squared distance of predicted and true histograms, mean over all cells."""
        views = self.augment(images, draws)
        predicted = self.decoder(self.encoder.forward_features(normalise(self.corrupt(views, draws))))
        return (predicted - gradients(views, self.cell)).square().sum(1).mean()

    def corrupt(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Images (B, 3, H, W) under noise of a spread up to 0.1, up to 60% of their patches grey."""
        count, _, height, width = images.shape
        sigma, hidden = (torch.rand(count, 1, 1, 1, generator=draws) * most for most in (0.1, 0.6))
        grid = (count, 1, height // self.cell, width // self.cell)
        holes = functional.interpolate((torch.rand(grid, generator=draws) < hidden).float(), scale_factor=self.cell)
        noisy = images + sigma * torch.randn(images.shape, generator=draws)
        return noisy.lerp(torch.full_like(images, MEAN), holes)


def gradients(images: Tensor, cell: int) -> Tensor:
    """Histograms of oriented gradients of the grey image, normalised per cell: v / sqrt(|v|^2 + FAINT^2).

    Args:
        images: (B, 3, H, W).
        cell: side of a cell in pixels.

    Returns:
        (B, ORIENTATIONS, H / cell, W / cell); bin i holds the directions from i to i + 1 ninths of half a turn.
    """
    grey = functional.pad(luma(images), (1, 1, 1, 1), mode="replicate")
    dx = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]
    dy = grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
    bins = (torch.atan2(dy, dx) / torch.pi * ORIENTATIONS).floor().long() % ORIENTATIONS  # opposite directions are one
    votes = torch.zeros(len(images), ORIENTATIONS, *images.shape[2:]).scatter_(1, bins, torch.hypot(dx, dy))
    pooled = functional.avg_pool2d(votes, cell)
    return pooled / (pooled.square().sum(1, keepdim=True) + FAINT**2).sqrt()
