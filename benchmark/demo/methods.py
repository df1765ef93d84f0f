"""Four ways to a small backbone: labels, two views, cleaning up noise, and nothing at all (which needs no code)."""

from __future__ import annotations

from abc import abstractmethod

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmark.demo.augment import Augmentation

ARCH = "test_byobnet"  # 0.2 M parameters; the same for all, so that only the training differs
MEAN = STD = 0.5


class Method(nn.Module):
    """An encoder and whatever a way of training puts around it.

    Attributes:
        encoder: a timm network, built by name.
    """

    encoder: nn.Module

    @abstractmethod
    def loss(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """What a step lowers.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            labels: (B,) int64.
            draws: where the random numbers come from.
        """

    def saved(self) -> dict[str, Tensor]:
        """What the training leaves on disk: everything, under the names of this module."""
        return self.state_dict()


def normalise(images: Tensor) -> Tensor:
    """Pixels in [0, 1] to the encoder's input."""
    return (images - MEAN) / STD


def build(num_classes: int = 0) -> nn.Module:
    """The encoder with fresh weights; a classifier on top where `num_classes` is not 0."""
    model: nn.Module = timm.create_model(ARCH, num_classes=num_classes)
    return model


class Supervised(Method):
    """Cross-entropy on the kind of the subject. Saved as timm's training script does: the network with its classifier."""

    augment = Augmentation(area=(0.6, 1.0), jitter=0.3, hue=0.5, colours=0.8)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = build(classes)

    def loss(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """Cross-entropy with label smoothing 0.1."""
        logits = self.encoder(normalise(self.augment(images, draws)))
        return F.cross_entropy(logits, labels, label_smoothing=0.1)

    def saved(self) -> dict[str, Tensor]:
        """The network alone, without a prefix."""
        return self.encoder.state_dict()


class Contrastive(Method):
    """SimCLR (Chen et al. 2020): two views of an image are to be closer than views of any others in the batch."""

    augment = Augmentation(area=(0.3, 1.0), jitter=0.4, hue=0.5, colours=0.9, grey=0.2, blur=0.2)
    temperature = 0.2

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.encoder = build()
        features = int(getattr(self.encoder, "num_features"))  # noqa: B009
        self.projector = nn.Sequential(
            nn.Linear(features, features, bias=False), nn.BatchNorm1d(features), nn.ReLU(), nn.Linear(features, width)
        )

    def loss(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """NT-Xent over the 2 B views (equation 1 of the paper)."""
        views = torch.cat([self.augment(images, draws), self.augment(images, draws)])
        z = F.normalize(self.projector(self.encoder(normalise(views))), dim=1)
        similarity = z @ z.T / self.temperature
        similarity.fill_diagonal_(float("-inf"))
        partner = torch.arange(len(z)).roll(len(images))
        return F.cross_entropy(similarity, partner)


class Masked(Method):
    """Masked feature prediction (MaskFeat, Wei et al. 2022): the edges of the whole image, from noisy parts of it.

    Half of the patches are hidden and noise lies on the rest; the target is a histogram of oriented gradients in every
    cell, which a small network learns sooner than it learns to repaint pixels.
    """

    augment = Augmentation(area=(0.5, 1.0), jitter=0.3, hue=0.5, colours=0.8)
    cell = 8

    def __init__(self) -> None:
        super().__init__()
        self.encoder = build()
        widths = (features_of(self.encoder), 128, 96)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 2, 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.Conv2d(widths[-1], 3 * ORIENTATIONS, 3, padding=1))

    def loss(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """Mean squared error of the histograms, over all cells."""
        views = self.augment(images, draws)
        maps = self.encoder.forward_features(normalise(self.corrupt(views, draws)))
        return F.mse_loss(self.decoder(maps), gradients(views, self.cell)) * GAIN

    def corrupt(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Images (B, 3, H, W) under noise, up to 60% of their patches grey."""
        count, _, height, width = images.shape
        sigma, hidden = (torch.rand(count, 1, 1, 1, generator=draws) * most for most in (0.2, 0.6))
        grid = (count, 1, height // self.cell, width // self.cell)
        holes = F.interpolate((torch.rand(grid, generator=draws) < hidden).float(), scale_factor=self.cell)
        noisy = images + sigma * torch.randn(images.shape, generator=draws)
        return noisy.lerp(torch.full_like(images, MEAN), holes)


def gradients(images: Tensor, cell: int) -> Tensor:
    """Histograms of oriented gradients, one per cell and colour channel, each of unit length.

    Args:
        images: (B, 3, H, W).
        cell: side of a cell in pixels.

    Returns:
        (B, 3 * ORIENTATIONS, H / cell, W / cell).
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    dx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    dy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    bins = (torch.atan2(dy, dx) / torch.pi * ORIENTATIONS).floor().long() % ORIENTATIONS  # unsigned directions
    votes = F.one_hot(bins, ORIENTATIONS) * torch.hypot(dx, dy).unsqueeze(-1)
    pooled = F.avg_pool2d(votes.permute(0, 1, 4, 2, 3).flatten(1, 2), cell)
    shape = pooled.shape
    return F.normalize(pooled.unflatten(1, (3, ORIENTATIONS)), dim=2, eps=1e-3).view(shape)
