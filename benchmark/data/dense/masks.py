"""`masks:IMAGES,MASKS`: a folder of images and one of label maps, an image of whole numbers per image."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field, field_validator

from benchmark.data.assemble import assemble
from benchmark.data.dataset import Dataset, Split
from benchmark.data.dense.labelmap import LabelMap, load_label_map
from benchmark.data.dense.pairing import SPLIT, annotated_split, asked_for, files_below, listed
from benchmark.data.folder import EXTENSIONS
from benchmark.data.options import Options
from benchmark.data.source import Source, SourceSpec
from benchmark.errors import DataError, nearest

_ORIENTATION = 274  # the EXIF tag
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height


class MaskOptions(Options):
    """Options of `masks:`.

    Attributes:
        labels: what the values mean: a shipped label map (`ade20k`, `cityscapes`, `cityscapes-trainids`, `voc`,
            `cocostuff`, `cocostuff-trainids`), or a file (JSON `{"7": "road"}` or `["road"]`, or a name per line).
        ignore: raw values to pass over, separated by commas, beside those of a shipped map; 255 too unless named.
        train, val, test: the word for each split: the folder below both (or what `{split}` in the paths stands for), or
            a list file (`*.txt`, a name per line) where all splits share the folders.
        image_suffix, mask_suffix: how file names end, where they differ in more than the extension
            (`_leftImg8bit.png`).
    """

    labels: str | None = None
    ignore: tuple[int, ...] = ()
    train: str | None = None
    val: str | None = None
    test: str | None = None
    image_suffix: str | None = Field(None, min_length=1)
    mask_suffix: str | None = Field(None, min_length=1)

    @field_validator("ignore", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


@dataclass(frozen=True)
class MaskFiles:
    """Masks by the paths of their files, checked against the size of their images.

    Attributes:
        images, masks: (N,) paths.
        labels: what the raw values mean.
    """

    images: tuple[str, ...]
    masks: tuple[str, ...]
    labels: LabelMap

    def __len__(self) -> int:
        return len(self.masks)

    def mask(self, index: int) -> NDArray[np.uint16]:
        """(H, W) classes of image `index`."""
        path = self.masks[index]
        raw = read_mask(path)
        check_size(raw.shape[1], raw.shape[0], path, self.images[index])
        return self.labels.read(raw, path)


def read_mask(path: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H, W) raw values of a mask as it is stored; never turned, scaled or run through its palette.

    Raises:
        DataError: unreadable, or of several channels.
    """
    try:
        with Image.open(io.BytesIO(Path(path).read_bytes())) as image:
            if image.mode not in ("L", "P", "1", "I;16", "I;16L", "I;16B", "I"):
                raise DataError(
                    "a mask of one channel whose values are class numbers",
                    f"{path} with channels {image.mode}",
                    "convert colours to numbers first",
                )
            values = np.asarray(image)
    except UnidentifiedImageError:
        raise DataError("a mask", f"{path} is in no image format that Pillow knows", "replace it") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise DataError("a readable mask", f"{path}: {error}", "replace it") from None
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.size and (int(values.min()) < 0 or int(values.max()) > 65535):
        raise DataError("values of 8 or 16 bits", f"{values.min()} to {values.max()} in {path}", "convert it")
    return values if values.dtype == np.uint8 else values.astype(np.uint16)


def check_size(width: int, height: int, annotation: str, image: str) -> None:
    """Stops where an annotation is of another size than its image as that is stored.

    Raises:
        DataError: the sizes differ, or the image cannot be read.
    """
    try:
        with Image.open(image) as opened:
            size, turned = opened.size, opened.getexif().get(_ORIENTATION, 1) in _TURNED
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise DataError("a readable image", f"{image}: {error}", "replace it") from None
    if size != (width, height):
        todo = "correct one of them"
        if turned and size == (height, width):
            todo = (
                "the image is stored on its side with an EXIF flag, which is ignored: store the turned pixels instead"
            )
        found = f"{width} x {height} in {annotation} and {size[0]} x {size[1]} in {image}"
        raise DataError("annotations of the size of their image", found, todo)


def open_masks(name: str, spec: SourceSpec, options: MaskOptions) -> Dataset:
    """Images with the class of every pixel.

    Raises:
        DataError: paths, splits or the label map make no sense; an image without a mask, or a mask without an image.
    """
    parts = spec.rest.split(",")
    if len(parts) != 2 or not all(parts):
        raise DataError("masks:IMAGES,MASKS", repr(spec.text), "give two folders; {split} may stand in both")
    labels = load_label_map(options.labels, options.ignore, spec.text)
    ends = options.image_suffix or labels.image_suffix, options.mask_suffix or labels.mask_suffix
    asked: Mapping[str, str | None] = {"train": options.train, "val": options.val, "test": options.test}
    lists = {split: word for split, word in asked.items() if word is not None and word.endswith(".txt")}
    if lists and len(lists) < sum(word is not None for word in asked.values()):
        raise DataError("list files or folders", f"both in {spec.text!r}", "give all splits in the same way")
    images_at, masks_at = (str(Path(part).expanduser().absolute()) for part in parts)
    splits: dict[str, Split] = {}
    if lists:
        images, masks = _both(images_at, masks_at, ends)
        for split, path in lists.items():
            stems = listed(_list_file(path, images_at, masks_at))
            lacking = [stem for stem in stems if stem not in images or stem not in masks]
            if lacking:
                what = "mask" if lacking[0] in images else "image"
                known = masks if what == "mask" else images
                found = f"none for {lacking[0]!r} of {path} ({len(lacking)} such)"
                raise DataError(
                    f"a{'n' if what == 'image' else ''} {what} for every name", found, nearest(lacking[0], known)
                )
            splits[split] = _split(split, images_at, stems, images, masks, labels)
    else:
        patterns = [at if SPLIT in at else f"{at}/{SPLIT}" for at in (images_at, masks_at)]
        if len({SPLIT in at for at in (images_at, masks_at)}) > 1:
            raise DataError("{split} in both paths or in neither", repr(spec.text), "add it to the other one")
        for split, word in asked_for(patterns, asked, labels.splits, spec.text).items():
            images, masks = _both(patterns[0].replace(SPLIT, word), patterns[1].replace(SPLIT, word), ends)
            _paired(images, masks, split, spec.text)
            base = images_at.partition(SPLIT)[0].rstrip("/") or "/"
            splits[split] = _split(split, base, sorted(images), images, masks, labels)
    return assemble(name, spec.text, (), splits, mask_classes=labels.classes)


def _list_file(word: str, images: str, masks: str) -> Path:
    """A list file: absolute, or relative to the folder above images and masks, or to where the command runs."""
    path = Path(word).expanduser()
    beside = Path(images).parent / path
    return path if path.is_absolute() or not beside.exists() else beside


def _both(images: str, masks: str, ends: tuple[str | None, str | None]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks by stem."""
    image_ends = EXTENSIONS if ends[0] is None else (ends[0],)
    mask_ends = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm") if ends[1] is None else (ends[1],)
    found = files_below(Path(images), image_ends), files_below(Path(masks), mask_ends)
    for folder, files, suffixes in ((images, found[0], image_ends), (masks, found[1], mask_ends)):
        if not files:
            raise DataError(f"files that end in {', '.join(suffixes[:4])}", f"none in {folder}", "check the path")
    return found


def _paired(images: Mapping[str, Path], masks: Mapping[str, Path], split: str, source: str) -> None:
    for what, here, there in (("mask", images, masks), ("image", masks, images)):
        alone = sorted(here.keys() - there.keys())
        if alone:
            found = f"none for {here[alone[0]]} ({len(alone)} such in {split})"
            raise DataError(f"a {what} for every file of {source!r}", found, nearest(alone[0], there))


def _split(
    name: str,
    root: str,
    stems: list[str],
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    labels: LabelMap,
) -> Split:
    paths, drawn = [images[stem] for stem in stems], [masks[stem] for stem in stems]
    split = annotated_split(name, root, [str(path.relative_to(root)) for path in paths], drawn, labels.digest())
    return replace(split, masks=MaskFiles(tuple(map(str, paths)), tuple(map(str, drawn)), labels))


SOURCE = Source(
    "masks:IMAGES,MASKS", "images and label maps of their pixels, in folders per split", MaskOptions, open_masks
)
