"""The linear classifier of patches, and the loss of pixels that it is trained with.

The head is the one of DINOv2's evaluation (its `linear_head.py` for mmsegmentation): batch normalisation and a 1 x 1
convolution, whose scores are enlarged bilinearly. Where several layers are seen, each has its own and their enlarged
scores are added: on maps of one size this is the same function as one head on their concatenation, and maps of other
sizes (stages of a convolutional network) need not be brought to one size first, many times their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, grid_sample, log_softmax

_STRIP = 2**24  # scores of pixels held at once: 64 MB


class LinearHead(nn.Module):
    """Scores of patch maps.

    Args:
        widths: channels of the map of each layer.
        classes: C.
        dropout: share of the channels that are set to 0 before the normalisation (DINOv3's `linear_head.py`).
    """

    def __init__(self, widths: list[int], classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
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
            scores = conv(norm(self.dropout(found)))
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
            narrow, found = found.shape[1] < self.classes, self.dropout(found)
            added.append(conv(sampled(norm(found), grid)) if narrow else sampled(conv(norm(found)), grid))
        return torch.stack(added).sum(dim=0)[:, :, 0]


def sampled(maps: Tensor, grid: Tensor) -> Tensor:
    """(B, C, 1, P) values of maps (B, C, h, w), enlarged bilinearly, at the points of a grid (B, 1, P, 2)."""
    return grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


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


def whole_loss(scores: Sequence[Tensor], masks: Tensor, ignore: int) -> Tensor:
    """The mean cross-entropy of all pixels, those without a class counting 0, as mmsegmentation's heads have it.

    Its `CrossEntropyLoss` divides by the number of all pixels, padding included. The gradient is taken beside the loss,
    strip by strip, so that enlarged scores (2.5 GB for 16 crops of 512 x 512 and 150 classes) are never held.

    Args:
        scores: (B, C, h, w) per size of map; enlarged to the masks and added they are the scores of pixels.
        masks: (B, H, W) classes or `ignore`.
        ignore: the value of pixels without a class.
    """
    loss: Tensor = _WholeLoss.apply(masks, ignore, *scores)
    return loss


class _WholeLoss(torch.autograd.Function):
    """`whole_loss`; interpolation as products with matrices, whose gradients are the same on every run."""

    @staticmethod
    def forward(ctx: Any, masks: Tensor, ignore: int, *scores: Tensor) -> Tensor:
        images, classes = scores[0].shape[:2]
        height, width = masks.shape[-2:]
        down = [interpolation(each.shape[-2], height).to(each) for each in scores]
        right = [interpolation(each.shape[-1], width).to(each) for each in scores]
        gradients = [torch.zeros_like(each) for each in scores]
        total = scores[0].new_zeros(())
        step = max(1, _STRIP // (images * classes * width))
        for top in range(0, height, step):
            rows = slice(top, top + step)
            pixels = sum(d[rows] @ each @ r.T for d, r, each in zip(down, right, scores, strict=True))
            assert isinstance(pixels, Tensor)
            target = masks[:, rows].long()
            known = target != ignore
            target = torch.where(known, target, 0)[:, None]
            likely = log_softmax(pixels, dim=1)
            total -= (likely.gather(1, target)[:, 0] * known).sum()
            slope = likely.exp_().scatter_add_(1, target, -torch.ones_like(target, dtype=likely.dtype))
            slope *= known[:, None] / masks.numel()
            for d, r, gradient in zip(down, right, gradients, strict=True):
                gradient += d[rows].T @ (slope @ r)
        ctx.save_for_backward(*gradients)
        return total / masks.numel()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        return (None, None, *(gradient * outer[0] for gradient in ctx.saved_tensors))


def interpolation(old: int, new: int) -> Tensor:
    """(new, old) the share of each old value in each new one when a line is enlarged linearly."""
    at = ((torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5).clamp(0, old - 1)
    low = at.floor().long()
    shares = torch.zeros(new, old, dtype=torch.float64)
    line = torch.arange(new)
    shares[line, low] += 1 - (at - low)
    shares[line, (low + 1).clamp(max=old - 1)] += at - low
    return shares
