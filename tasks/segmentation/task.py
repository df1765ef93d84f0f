"""The segmentation task: which protocols there are.

`seg/linear` is DINOv2's evaluation (arXiv:2304.07193, section 7.4; its published configurations: AdamW at 1e-3, decay
1e-4, 40k iterations of 16 crops, warm-up 1500 from 1e-6, then linear to 0), `seg/linear-dinov3` the one of DINOv3
(`config-ade20k-linear-training.yaml`), with views as `crops` draws them: DINOv3 antialiases when it resizes and blends
with grey to change saturation, and its rate falls in a line until the warm-up ends.
"""

from __future__ import annotations

from typing import ClassVar

from benchmark.backbones.backbone import Backbone
from benchmark.errors import NotApplicable, RequestError
from benchmark.protocol import DenseSettings, ImageSettings, ProtocolSettings
from benchmark.task import DenseInputs, ImageInputs, Need, Predictions, Task
from tasks.openmmlab import ops
from tasks.openmmlab.quiet import quiet
from tasks.segmentation.augmented import AugmentedSettings, predict_augmented
from tasks.segmentation.linear import LinearSettings, predict_linear
from tasks.segmentation.neighbours import NeighbourSettings, predict_neighbours
from tasks.segmentation.trained import PROTOCOLS as TRAINED
from tasks.segmentation.trained import TrainedSettings

TINY_IMAGES = 1000
"""Training images of a `@tiny` budget."""


class Segmentation(Task):
    """A class for every pixel from the maps of a frozen encoder, scored at the full resolution of the mask.

    Under the `@tiny` budgets and for neighbours, the encoder sees every image once, whole and squashed to a square;
    under the published ones it sees augmented crops, and windows at test. Budgets are part of a protocol's name:
    figures of different budgets are never ranked together.
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
        "seg/linear": AugmentedSettings(
            name="seg/linear",
            iterations=40_000,
            summary="DINOv2's: BatchNorm + 1x1 conv on the last map, 40k steps on augmented crops, windows at test",
        ),
        "seg/linear-4": AugmentedSettings(
            name="seg/linear-4", iterations=40_000, layers=4, summary="the same on the maps of the last 4 layers"
        ),
        "seg/linear-dinov3": AugmentedSettings(
            name="seg/linear-dinov3",
            iterations=40_000,
            weight_decay=1e-3,
            decay="cosine",
            dropout=0.1,
            hue=90,
            summary="DINOv3's: weight decay 1e-3, cosine, dropout of channels, hue turned by up to half a circle",
        ),
        **TRAINED,
    }

    def needs_of(self, protocol: ProtocolSettings) -> tuple[Need, ...]:
        """Stored maps; the encoder itself for what sees augmented crops."""
        return ("backbone",) if isinstance(protocol, ImageSettings) else self.needs

    def check_encoder(self, protocol: ProtocolSettings, backbone: Backbone) -> None:
        """Whether the encoder has the maps of as many layers, and the head can stand on them.

        Raises:
            NotApplicable: it has fewer, or it cannot.
            RequestError: a trained head without the `dense` extra.
        """
        super().check_encoder(protocol, backbone)
        if isinstance(protocol, AugmentedSettings) and backbone.depth < protocol.layers:
            found = f"{backbone.depth} in {backbone.arch}"
            raise NotApplicable(f"maps of {protocol.layers} layers", found, "use another protocol")
        if isinstance(protocol, TrainedSettings):
            ops.provide()  # before anything of mmcv is imported
            with quiet():
                from tasks.segmentation.fit import configuration
            try:
                configuration(backbone, protocol, classes=2)
            except RequestError as error:
                raise NotApplicable(error.expected, error.found, error.todo) from error

    def scorer_of(self, protocol: ProtocolSettings, multilabel: bool) -> str:
        """The one scorer of masks, whatever labels images have."""
        return self.scorer

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """mIoU, whatever labels images have."""
        return self.headline

    def predict(
        self, inputs: DenseInputs | ImageInputs, protocol: DenseSettings | ImageSettings, seed: int
    ) -> Predictions:
        """Learns from train and predicts the reported split."""
        if isinstance(inputs, ImageInputs) and isinstance(protocol, TrainedSettings):
            ops.provide()
            with quiet():
                from tasks.segmentation.fit import predict_trained
            return predict_trained(inputs, protocol, seed)
        if isinstance(inputs, ImageInputs):
            assert isinstance(protocol, AugmentedSettings)
            return predict_augmented(inputs, protocol, seed)
        if isinstance(protocol, NeighbourSettings):
            return predict_neighbours(inputs, protocol, seed)
        assert isinstance(protocol, LinearSettings)
        return predict_linear(inputs, protocol, seed)
