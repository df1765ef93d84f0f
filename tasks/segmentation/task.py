"""The segmentation task: which protocols there are."""

from __future__ import annotations

from typing import ClassVar

from benchmark.protocol import DenseSettings, ProtocolSettings
from benchmark.task import DenseInputs, Predictions, Task
from tasks.segmentation.linear import LinearSettings, predict_linear
from tasks.segmentation.neighbours import NeighbourSettings, predict_neighbours

TINY_IMAGES = 1000
"""Training images of a `@tiny` budget."""


class Segmentation(Task):
    """A class for every pixel from frozen patch maps, scored at the full resolution of the mask.

    The encoder sees every image once, whole and squashed to a square. Budgets are part of a protocol's name: figures of
    different budgets are never ranked together.
    """

    name = "segmentation"
    summary = "a class for every pixel from frozen patch maps: linear head, nearest neighbours"
    needs = ("patch",)
    learns = "masks"
    scorer = "segmentation"
    headline = "mIoU"
    protocols: ClassVar = {
        "seg/linear@tiny": LinearSettings(
            name="seg/linear@tiny",
            iterations=400,
            train_images=TINY_IMAGES,
            summary="BatchNorm + 1x1 conv on the last map, 400 steps of AdamW on stored maps, no augmentation",
        ),
        "seg/linear-4@tiny": LinearSettings(
            name="seg/linear-4@tiny",
            iterations=400,
            layers=4,
            train_images=TINY_IMAGES,
            summary="the same on the maps of the last 4 layers",
        ),
        "seg/knn@tiny": NeighbourSettings(
            name="seg/knn@tiny",
            train_images=TINY_IMAGES,
            summary="neighbours of standardised patches vote pixel by pixel, k and distance chosen on 10% of train",
        ),
        "seg/knn": NeighbourSettings(
            name="seg/knn", summary="the same with all training images (capi's evaluation at full mask resolution)"
        ),
    }

    def scorer_of(self, protocol: ProtocolSettings, multilabel: bool) -> str:
        """The one scorer of masks, whatever labels images have."""
        return self.scorer

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """mIoU, whatever labels images have."""
        return self.headline

    def predict(self, inputs: DenseInputs, protocol: DenseSettings, seed: int) -> Predictions:
        """Learns from train and predicts the reported split."""
        if isinstance(protocol, NeighbourSettings):
            return predict_neighbours(inputs, protocol, seed)
        assert isinstance(protocol, LinearSettings)
        return predict_linear(inputs, protocol, seed)
