"""The `scenes:` dataset: a reader that draws images on demand, and the function that opens it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from benchmark.data.annotations import Objects
from benchmark.data.assemble import assemble
from benchmark.data.dataset import Dataset, Split
from benchmark.data.fingerprint import combine, of_labels
from benchmark.data.runlength import run_lengths
from benchmark.data.scenes.kinds import Kind, kinds
from benchmark.data.scenes.options import SceneOptions
from benchmark.data.scenes.render import RENDERER_VERSION, Scene, render
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError

PROBES = 4  # images drawn for the fingerprint, so that a renderer that draws differently shows


@dataclass(frozen=True)
class SceneReader:
    """Draws the scenes of one split; holds nothing but what was asked for.

    Attributes:
        split: `train`, `val` or `test`.
        length: number of images.
        options: of the source.
    """

    split: str
    length: int
    options: SceneOptions

    def __len__(self) -> int:
        return self.length

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The object kinds, in the order of the class indices."""
        return kinds(self.options.kinds, self.options.classes)

    def scene(self, index: int) -> Scene:
        """Image `index` with its boxes and masks; the subjects' kinds take turns, so that classes are balanced."""
        if not 0 <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        entropy = self.options.entropy(self.split, index)
        return render(self.kinds, index % self.options.classes, entropy, self.options)

    def read(self, index: int) -> Image.Image:
        """Image `index` as RGB."""
        return Image.fromarray(self.scene(index).image)

    def mask(self, index: int) -> NDArray[np.uint16]:
        """(size, size) class of every pixel of image `index`: 0 is the background, kind k is k + 1."""
        return self.scene(index).semantic.astype(np.uint16)

    def size(self, index: int) -> tuple[int, int]:
        """(h, w) of image `index`."""
        return self.options.size, self.options.size

    def count(self, index: int) -> int:
        """How many objects image `index` shows."""
        return len(self.scene(index).kinds)

    def objects(self, index: int) -> Objects:
        """The visible objects of image `index`, the subject first."""
        scene = self.scene(index)
        none = np.zeros(len(scene.kinds), bool)
        return Objects(
            boxes=scene.boxes.astype(np.float64),
            labels=scene.kinds,
            crowd=none,
            difficult=none,
            areas=scene.instance_masks.sum((1, 2)).astype(np.float64),
            segments=tuple(run_lengths(mask) for mask in scene.instance_masks),
            size=(self.options.size, self.options.size),
        )

    def targets(self) -> NDArray[np.int64] | NDArray[np.uint8]:
        """(N,) kinds of the subjects or, with `multilabel`, (N, C) indicators of the visible kinds."""
        if not self.options.multilabel:
            return np.arange(self.length, dtype=np.int64) % self.options.classes
        visible = np.zeros((self.length, self.options.classes), np.uint8)
        for index in range(self.length):
            visible[index, self.scene(index).kinds] = 1
        return visible


def _split(reader: SceneReader) -> Split:
    ids = pa.array([f"{reader.split}/{index:07d}" for index in range(len(reader))])
    targets = reader.targets()
    drawn = hashlib.blake2b(digest_size=16)
    for index in range(min(PROBES, len(reader))):
        drawn.update(reader.scene(index).image.tobytes())
    options = [f"{name}={value}" for name, value in sorted(reader.options.key().items())]
    fingerprint = combine([f"scenes v{RENDERER_VERSION}", *options, of_labels(ids, targets), drawn.hexdigest()])
    return Split(reader.split, ids, targets, reader, fingerprint, fingerprint, masks=reader, objects=reader)


def open_scenes(name: str, spec: SourceSpec, options: SceneOptions) -> Dataset:
    """The generated dataset that `options` describe.

    Raises:
        DataError: something stands between `scenes:` and its options.
    """
    if spec.rest:
        raise DataError(
            "`scenes:` with nothing but options", repr(spec.text), "write scenes:?classes=10&difficulty=0.4"
        )
    sizes = {"train": options.train, "val": options.val, "test": options.test}
    splits = {split: _split(SceneReader(split, size, options)) for split, size in sizes.items() if size}
    classes = tuple(kind.name for kind in kinds(options.kinds, options.classes))
    return assemble(
        name,
        spec.text,
        classes,
        splits,
        multilabel=options.multilabel,
        mask_classes=("background", *classes),
        object_classes=classes,
    )


SOURCE = Source(
    "scenes:", "generated scenes of shaped and textured objects, with boxes and masks", SceneOptions, open_scenes
)
