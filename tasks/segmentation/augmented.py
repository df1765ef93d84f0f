"""A linear classifier on the published budget: a frozen encoder sees augmented crops on the fly, windows at test."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.data.annotations import IGNORE
from benchmark.task import ImageInputs, Predictions
from tasks.segmentation.crops import ViewSettings, padding_colour, training_views
from tasks.segmentation.descent import DescentSettings, descend
from tasks.segmentation.head import LinearHead, whole_loss
from tasks.segmentation.scoring import Reported, counted
from tasks.segmentation.windows import Windowed, cut, joined, placed, scaled_images


class AugmentedSettings(ViewSettings, DescentSettings):
    """How the head is trained.

    Attributes:
        layers: how many of the last layers it sees, through the final norm where there is one.
        dropout: of channels, before the head's normalisation.
    """

    layers: int = 1
    dropout: float = 0.0


def predict_augmented(inputs: ImageInputs, protocol: AugmentedSettings, seed: int) -> Predictions:
    """Trains on all of train and predicts the reported split; nothing is selected.

    The loss is that of all pixels of the crops. What the training stands at is kept in `inputs.scratch`.
    """
    backbone = inputs.backbone
    side = backbone.preprocessing.size[0]
    with torch.inference_mode():
        grey = torch.full((1, 3, side, side), 127, dtype=torch.uint8)
        shapes = [tuple(found.shape[1:]) for found in maps_of(inputs, grey, protocol.layers)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = LinearHead([shape[0] for shape in shapes], len(inputs.classes), protocol.dropout).to(inputs.device)

    def losses(start: int) -> Iterator[Tensor]:
        views = training_views(
            inputs.train,
            protocol,
            backbone.preprocessing,
            seed,
            first=start * protocol.batch,
            workers=inputs.workers,
            pin=inputs.device.type == "cuda",
        )
        for images, masks in views:
            maps = maps_of(inputs, images, protocol.layers)
            yield whole_loss(head(maps), masks.to(inputs.device), IGNORE)

    snapshot = inputs.scratch / "head.pth"
    curve = descend(head, losses, protocol, seed, inputs.progress, snapshot, inputs.scratch.name)
    table = counted(Reported.of(inputs), [""], _windowed(head, inputs, protocol), joined)
    details = {
        "train_images": len(inputs.train),
        "crop": side,
        "stride": max(1, side * 2 // 3),
        "maps": [list(shape) for shape in shapes],
        "loss_curve": curve,
    }
    return Predictions(table, details=details)


def maps_of(inputs: ImageInputs, images: Tensor, layers: int) -> list[Tensor]:
    """Maps (B, D, h, w) of the last layers, of images (B, 3, S, S) uint8."""
    return list(inputs.backbone.encode(images, [], layers=layers).grids(layers))


def _windowed(head: LinearHead, inputs: ImageInputs, protocol: AugmentedSettings) -> Iterator[list[Windowed]]:
    preprocessing = inputs.backbone.preprocessing
    fill = padding_colour(preprocessing)
    for image in scaled_images(inputs.test, protocol.short, protocol.long, inputs.workers):
        size = (image.shape[1], image.shape[2])
        boxes = placed(size, preprocessing.size[0])
        with torch.inference_mode():
            parts = [
                head(maps_of(inputs, pixels, protocol.layers))
                for pixels in cut(image, boxes, fill).split(inputs.batch_size)
            ]
            scores = [torch.cat(same) for same in zip(*parts, strict=True)]
        yield [Windowed(scores, boxes, size)]
