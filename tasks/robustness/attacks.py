"""Attacks by the gradient of a loss in the pixels: FGSM and PGD under a bound on the change of every pixel value.

Images are float in [0, 1] at the encoder's size, before its normalisation. Radii are in the same unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from benchmark.backbones.backbone import Backbone
from benchmark.errors import BackboneError
from tasks.robustness.judge import Judge

Given = ParamSpec("Given")
Found = TypeVar("Found")

BATCH = 32
"""Images that are attacked together, whatever the batch size of the run: the last bits of a gradient may depend on the
size of its batch, and an attack of many steps makes differences of them that can be seen."""


class Network:
    """Images (B, 3, H, W) to logits (B, C), with gradients wherever autograd asks for them.

    Without, it is the ordinary way through the encoder. With them, parts of a batch that does not fit in memory are
    computed again on the way back, one after the other.
    """

    def __init__(self, judge: Judge, backbone: Backbone) -> None:
        self._judge, self._backbone = judge, backbone
        self._part, self._latest = BATCH, 0

    def __call__(self, images: Tensor) -> Tensor:
        """The logits."""
        if not (torch.is_grad_enabled() and images.requires_grad):
            return self._judge.of_images(self._backbone, images)
        self._latest = len(images)
        if len(images) <= self._part:
            return self._followed(images)
        parts = images.split(self._part)
        return torch.cat([checkpoint(self._followed, part, use_reentrant=False) for part in parts])

    def fitting(
        self, attack: Callable[Concatenate[Network, Given], Found], *args: Given.args, **kwargs: Given.kwargs
    ) -> Found:
        """What an attack on this network returns; where memory runs out it begins again, with parts half as large.

        Raises:
            BackboneError: not even one image fits.
        """
        while True:
            try:
                with self._backbone.execution.products():  # the way back is outside of encode
                    return attack(self, *args, **kwargs)
            except torch.OutOfMemoryError:
                self._part = min(self._part, self._latest) // 2
            # Outside of the handler: there the exception still holds the frames that hold the memory.
            if self._part < 1:
                raise BackboneError(
                    "memory for the gradient of one image",
                    "the device out of memory",
                    "use a smaller input or another device",
                )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _followed(self, images: Tensor) -> Tensor:
        return self._judge.of_images(self._backbone, images, gradients=True)


def margin(logits: Tensor, targets: Tensor) -> Tensor:
    """log(sum of exp(logit) over the other classes) - the target's logit: (B, C), (B,) -> (B,).

    Cross-entropy is log(1 + exp(margin)). Its gradient has the signs of this one's, but is rounded to nothing where a
    network is sure of the target beyond float32 (Carlini and Wagner 2017, section IV-C), which would look like a
    network without adversarial images.
    """
    target = targets[:, None]
    others = logits.scatter(1, target, -torch.inf)
    return others.logsumexp(dim=1) - logits.gather(1, target)[:, 0]


def gradient(network: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor) -> Tensor:
    """Of each image's `margin` in its pixels, the shape of `images`."""
    with torch.enable_grad():
        followed = images.detach().requires_grad_()
        loss = margin(network(followed), targets).sum()
        return torch.autograd.grad(loss, followed)[0]


def fgsm(images: Tensor, found: Tensor, radius: float) -> Tensor:
    """One step as far as allowed along the signs of the gradient at the image (Goodfellow, Shlens and Szegedy 2015).

    Args:
        images: (B, 3, H, W).
        found: their `gradient`.
        radius: of the ball in the maximum norm.
    """
    return (images + radius * found.sign()).clamp(0, 1)


def pgd(
    network: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor, radius: float, steps: int, start: Tensor
) -> Tensor:
    """Projected gradient ascent in the maximum norm from a random start (Madry et al. 2018); the last step's images.

    The step is 2.5 radius / steps, as they have it where radii vary: the border is reached from anywhere in the ball,
    with some way to go along it.

    Args:
        network: images to logits.
        images: (B, 3, H, W).
        targets: (B,).
        radius: of the ball.
        steps: how many.
        start: uniform in [-1, 1], the shape of `images`: where in the ball to begin.
    """
    low, high = (images - radius).clamp(min=0), (images + radius).clamp(max=1)
    step = 2.5 * radius / steps
    changed = (images + radius * start).clamp(low, high)
    for _ in range(steps):
        changed = (changed + step * gradient(network, changed, targets).sign()).clamp(low, high)
    return changed
