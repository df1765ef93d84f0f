"""The extraction loop: one pass of a split through a backbone, into the store."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.data.dataset import Split
from benchmark.features.filling import Extraction, Filling, OnBadImage, Progress
from benchmark.features.store import FeatureKey, FeatureStore


def feature_key(backbone: Backbone, preprocessing: Preprocessing, split: Split) -> FeatureKey:
    """The store's key for a backbone's features of a split under a preprocessing."""
    return FeatureKey(
        weights=backbone.weights_hash,
        preprocessing=preprocessing.key(),
        precision=backbone.execution.precision,
        data=split.state,
        split=split.name,
        n=len(split),
    )


def extract(
    backbone: Backbone,
    split: Split,
    representations: Sequence[str],
    store: FeatureStore,
    *,
    preprocessing: Preprocessing | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    on_bad_image: OnBadImage = "stop",
    progress: Progress = lambda done, total, what: None,
) -> Extraction:
    """Makes sure that the store has `representations` of every image of `split`.

    Args:
        backbone: the encoder.
        split: the images.
        representations: names that the backbone has.
        store: where features are looked up and kept.
        preprocessing: the geometry to use; the backbone's own when None.
        batch_size: images per forward pass; halved by itself when the device runs out of memory.
        workers: decoding processes; one per core when None.
        on_bad_image: `stop` raises at the first batch with unreadable images, `skip` leaves them out and records them.
        progress: called with images done, images in all, what.

    Raises:
        DataError: unreadable images under `stop`, or no readable image at all.
        BackboneError: features that are not finite.
    """
    chosen = preprocessing or backbone.preprocessing
    wanted = list(dict.fromkeys(representations))

    def encode(images: Tensor) -> dict[str, Tensor]:
        features = backbone.encode(images, wanted, layers=0)
        return {name: features.global_(name) for name in wanted}

    key = feature_key(backbone, chosen, split)
    pin = backbone.execution.torch_device.type == "cuda"
    filling = Filling(store, key, wanted, encode, split, chosen, batch_size, workers, on_bad_image, progress, pin)
    return filling.fill()
