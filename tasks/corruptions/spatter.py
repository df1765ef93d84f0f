"""Spatter."""

from torch import Tensor


def spatter(images: Tensor, normals: Tensor, *parameters: float) -> Tensor:
    return images
