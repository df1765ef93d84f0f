"""Opening the models of a run, one in memory at a time, and what a result records of each."""

from __future__ import annotations

import re
import time

import torch

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.execution import Execution
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.sources import open_backbone
from benchmark.results.schema import ModelRecord
from benchmark.suites.cards import ModelCard

_IMG_SIZE = re.compile(r"(?<=[?&])img_size=[^&]*&?|[?&]img_size=[^&]*$")
"""The option that binds an architecture to one size."""


class ModelShelf:
    """Opens backbones and keeps the last one, so that a run of one model reads its file once."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self._card: ModelCard | None = None
        self._backbone: Backbone | None = None
        self._sized: dict[tuple[int, int], Backbone] = {}
        self._rates: dict[str, float] = {}

    def open(self, card: ModelCard) -> Backbone:
        """The card's backbone.

        Raises:
            RequestError: see `open_backbone`.
        """
        if self._backbone is None or self._card != card:
            self._backbone = None  # the old one goes before the new one comes: memory for one
            self._sized.clear()
            self._backbone = open_backbone(
                card.checkpoint,
                arch=card.arch,
                layout=card.layout,
                key=card.key,
                preprocess=card.preprocess,
                execution=self.execution,
            )
            self._card = card
        return self._backbone

    def under(self, card: ModelCard, preprocessing: Preprocessing) -> Backbone:
        """The card's backbone behind another preprocessing, built for its size where the network is bound to one.

        Raises:
            BackboneError: the network cannot be built for that size.
        """
        backbone = self.open(card)
        if preprocessing.size != backbone.preprocessing.size:
            if preprocessing.size not in self._sized:
                self._sized.clear()
                self._sized[preprocessing.size] = self._built_for(card, preprocessing.size)
            backbone = self._sized[preprocessing.size]
        return backbone.under(preprocessing)

    def _built_for(self, card: ModelCard, size: tuple[int, int]) -> Backbone:
        kept = [setting for setting in card.preprocess if setting.partition("=")[0].strip() != "size"]
        return open_backbone(
            _IMG_SIZE.sub("", card.checkpoint) if card.checkpoint.startswith(("random:", "timm:")) else card.checkpoint,
            arch=None if card.arch is None else _IMG_SIZE.sub("", card.arch),
            layout=card.layout,
            key=card.key,
            preprocess=(*kept, f"size={size[0]}x{size[1]}"),
            execution=self.execution,
        )

    def images_per_second(self, card: ModelCard) -> float:
        """Forward rate of the card's backbone, measured once on a few grey images (for estimates only)."""
        if card.name not in self._rates:
            backbone = self.open(card)
            n = 8 if self.execution.torch_device.type == "cpu" else 64
            height, width = backbone.preprocessing.size
            images = torch.full((n, 3, height, width), 127, dtype=torch.uint8)
            wanted = (backbone.default_representation,)
            backbone.encode(images, wanted, layers=0)  # the first call of a shape pays for its set-up
            started = time.perf_counter()
            backbone.encode(images, wanted, layers=0).global_(wanted[0]).sum().item()
            self._rates[card.name] = n / (time.perf_counter() - started)
        return self._rates[card.name]


def model_record(card: ModelCard, backbone: Backbone) -> ModelRecord:
    """What results keep of a model."""
    origin = backbone.origin
    return ModelRecord(
        name=card.name,
        spec=card.checkpoint,
        arch=backbone.arch,
        weights_hash=backbone.weights_hash,
        file_sha256=origin.sha256,
        layout=origin.layout,
        key=origin.key,
        params=backbone.params,
        macs=backbone.macs(),
        has_head=backbone.head is not None,
        representations=backbone.representations,
        default_representation=backbone.default_representation,
        preprocessing=backbone.preprocessing.model_dump(mode="json"),
        notices=origin.notices,
        method=card.method,
        pretraining_data=card.pretraining_data,
        epochs=card.epochs,
        licence=card.licence,
        link=card.link,
        weights=card.weights,
        groups=card.groups,
    )
