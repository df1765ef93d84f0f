"""Patch maps: the spatial features of whole images, stored a few images at a time and read at random.

    CACHE/features/<digest>/map-<layer>/00007.npy   (images, D h w) float16

Maps are large: an image of 448 x 448 is 1.2 MB per layer for a ViT-B/16. So a chunk holds few images, nothing is ever
loaded whole, and what does not fit on the disk of the cache is refused before the first image is encoded.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmark.backbones.backbone import Backbone
from benchmark.data.dataset import Split
from benchmark.errors import DataError
from benchmark.features.extract import feature_key
from benchmark.features.filling import Extraction, Filling, OnBadImage, Progress
from benchmark.features.store import FeatureKey, FeatureSet, FeatureStore, chunk_range

CHUNK_MAPS = 16
"""Images per chunk of maps: 16 at 448 x 448 are 20 MB of a ViT-B/16, what a kill can cost at most."""
FREE_SHARE = 0.5
"""The share of the free disk that the maps of one run may take."""

Shape = tuple[int, int, int]


def map_shapes(backbone: Backbone, layers: int) -> dict[int, Shape]:
    """Layer -> (D, h, w) of the maps of the last `layers` layers, by encoding one grey image."""
    grey = torch.full((1, 3, *backbone.preprocessing.size), 127, dtype=torch.uint8)
    maps = backbone.encode(grey, [], layers=layers).maps
    return {layer: (found.shape[1], found.shape[2], found.shape[3]) for layer, found in maps.items()}


def map_bytes(shapes: dict[int, Shape]) -> int:
    """Bytes that the maps of one image take on the disk."""
    return sum(2 * math.prod(shape) for shape in shapes.values())


def map_key(backbone: Backbone, split: Split) -> FeatureKey:
    """The store's key for a backbone's maps of a split."""
    return replace(feature_key(backbone, backbone.preprocessing, split), chunk_images=CHUNK_MAPS)


def missing_maps(backbone: Backbone, split: Split, store: FeatureStore, layers: Sequence[int]) -> int:
    """How many images of a split still have to be encoded for these layers."""
    key = map_key(backbone, split)
    chunks = set().union(*(store.missing(key, _name(layer)) for layer in layers))
    return sum(len(chunk_range(key.n, chunk, CHUNK_MAPS)) for chunk in chunks)


def check_room(store: FeatureStore, images: int, shapes: dict[int, Shape]) -> None:
    """Refuses maps that do not fit.

    Raises:
        DataError: they would take more than half of what is free on the disk of the cache.
    """
    needed = images * map_bytes(shapes)
    place = next(path for path in (store.root, *store.root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > FREE_SHARE * free:
        raise DataError(
            f"room for patch features in half of what is free at {place} ({free / 2e9:.1f} GB)",
            f"{images} images of {map_bytes(shapes) / 1e6:.1f} MB, {needed / 1e9:.1f} GB",
            "choose another --cache, or lower the protocol's size or train_images with --set",
        )


@dataclass(frozen=True)
class PatchMaps:
    """The stored maps of one layer of a split.

    Attributes:
        shape: (D, h, w).
        arrays: (n, D h w) float16 memory maps, chunk by chunk.
        scales: what each chunk is multiplied with.
        starts: (chunks + 1,) the first row of each chunk, and the number of rows.
    """

    shape: Shape
    arrays: tuple[np.ndarray, ...]
    scales: tuple[float, ...]
    starts: np.ndarray

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, rows: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """(B, D, h, w) float32 maps of the images at `rows` (of those that could be read)."""
        out = torch.empty(len(rows), math.prod(self.shape), dtype=torch.float32)
        for place, row in enumerate(rows):
            chunk = int(np.searchsorted(self.starts, row, side="right")) - 1
            stored = torch.from_numpy(np.array(self.arrays[chunk][row - self.starts[chunk]]))
            torch.mul(stored.float(), self.scales[chunk], out=out[place])
        return out.unflatten(1, self.shape).to(device)

    def batches(self, size: int, device: torch.device | str = "cpu") -> Iterator[tuple[range, Tensor]]:
        """All maps in order: (rows, (B, D, h, w))."""
        for start in range(0, len(self), size):
            rows = range(start, min(start + size, len(self)))
            yield rows, self.read(rows, device)


def open_maps(features: FeatureSet, layer: int, shape: Shape) -> PatchMaps:
    """The stored maps of a layer.

    Raises:
        RuntimeError: they are of another shape than the backbone's.
    """
    arrays, scales, starts = [], [], [0]
    for array, record in features.chunks(_name(layer)):
        if record.dim != math.prod(shape):
            raise RuntimeError(f"{features.folder}: maps of {record.dim} numbers, not {shape}; delete the folder")
        arrays.append(array)
        scales.append(math.ldexp(1.0, -record.log2_scale))
        starts.append(starts[-1] + record.rows)
    return PatchMaps(shape, tuple(arrays), tuple(scales), np.array(starts, dtype=np.int64))


def extract_maps(
    backbone: Backbone,
    split: Split,
    layers: Sequence[int],
    store: FeatureStore,
    *,
    batch_size: int = CHUNK_MAPS,
    workers: int | None = None,
    on_bad_image: OnBadImage = "stop",
    progress: Progress = lambda done, total, what: None,
) -> Extraction:
    """Makes sure that the store has the maps of `layers` of every image of `split`; see `extract`."""
    wanted = [_name(layer) for layer in layers]

    def encode(images: Tensor) -> dict[str, Tensor]:
        maps = backbone.encode(images, [], layers=layers).maps
        return {_name(layer): maps[layer].flatten(1) for layer in layers}

    pin = backbone.execution.torch_device.type == "cuda"
    key, size = map_key(backbone, split), min(batch_size, CHUNK_MAPS)
    filling = Filling(
        store, key, wanted, encode, split, backbone.preprocessing, size, workers, on_bad_image, progress, pin
    )
    return filling.fill()


def _name(layer: int) -> str:
    return f"map-{layer}"
