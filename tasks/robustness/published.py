"""The published files of ImageNet-C: already cropped and resized, so they are taken as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmark.backbones.backbone import Backbone
from benchmark.data.dataset import ImageReader
from benchmark.data.sample import chosen_images
from benchmark.errors import DataError, NotApplicable, nearest
from benchmark.metrics.corruptions import EXTRA, FIFTEEN, SEVERITIES, corruptions_table
from benchmark.task import Labels, Predictions, ShiftInputs
from tasks.robustness.asked import asked_of, pixels_of
from tasks.robustness.judge import JudgeSettings, judge_of
from tasks.robustness.part import Part


class PublishedSettings(JudgeSettings):
    """The head, and how many of the images."""


@dataclass(frozen=True)
class _AsTheyAre:
    """Images that must have the encoder's size already: resized twice, they change the ranking."""

    reader: ImageReader
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.reader)

    def read(self, index: int) -> Image.Image:
        image = self.reader.read(index)
        if image.size != self.size[::-1]:
            (width, height), (h, w) = image.size, self.size
            found = f"an image of {width}x{height} where the files have {w}x{h}, as the encoder sees them"
            raise DataError("the published files", found, "give those")
        return image


def predict_published(inputs: ShiftInputs, protocol: PublishedSettings, seed: int) -> Predictions:
    """Fits the head on train, and predicts the clean reported images and each of their published corruptions.

    Raises:
        DataError: a corruption or an image is missing, or images of another size than the encoder's.
        NotApplicable: there is no head, see `judge_of`.
    """
    features, images = inputs.features, inputs.images
    if images.shifted is None or features.shift is None:
        raise RuntimeError("a shift without shifted images")
    variants = features.shift.variants
    names = _corruptions(variants)
    place = _place_of(images.shifted.ids, variants, features.test.ids.to_pylist())
    start = {variant: at * (len(images.shifted) // len(variants)) for at, variant in enumerate(variants)}
    judge = judge_of(features, protocol, seed)
    asked = asked_of(inputs, protocol.n)
    found = {name: np.zeros((len(asked), SEVERITIES), np.int32) for name in names}
    whole = images.backbone.under(images.backbone.preprocessing.pinned(crop_pct=1.0))
    as_they_are = replace(inputs, images=replace(images, backbone=whole))
    done, total = 0, len(asked) * len(names) * SEVERITIES
    for name in names:
        for severity in range(SEVERITIES):
            variant = f"{name}/{severity + 1}"
            split = chosen_images(images.shifted, start[variant] + place[asked.rows], variant)
            exact = replace(split, reader=_AsTheyAre(split.reader, whole.preprocessing.size))
            for pixels, here in pixels_of(as_they_are, exact):
                found[name][here, severity] = judge.of_images(images.backbone, pixels).argmax(dim=1).cpu().numpy()
                done += len(here)
                images.progress(done, total, f"{name} {severity + 1}")
    clean = judge.logits(asked.features).argmax(dim=1).cpu().numpy()
    table = corruptions_table(asked.ids, asked.targets, clean, found, len(features.classes), "imagenet-c")
    errors = {name: 100 * (classes != asked.targets[:, None]).mean(axis=0) for name, classes in found.items()}
    rounded = {name: np.round(values, 4).tolist() for name, values in errors.items()}
    details = {"corruption_errors": rounded, "head": judge.details, "images": len(asked)}
    return Predictions(table, judge.how, judge.held_out, details)


def _corruptions(variants: Sequence[str]) -> list[str]:
    """The corruptions that are there at all five severities, in the paper's order.

    Raises:
        DataError: one of the fifteen is missing, some of the extra four but not all are there, or one is unknown.
    """
    every = [f"{name}/{severity + 1}" for name in (*FIFTEEN, *EXTRA) for severity in range(SEVERITIES)]
    strange = [variant for variant in variants if variant not in every]
    if strange:
        raise DataError(
            "the corruptions of ImageNet-C at severities 1 to 5", repr(strange[0]), nearest(strange[0], every)
        )
    there = set(variants)
    extra = any(variant.split("/")[0] in EXTRA for variant in there)
    asked = (*FIFTEEN, *EXTRA) if extra else FIFTEEN
    lacking = [variant for variant in every if variant.split("/")[0] in asked and variant not in there]
    if lacking:
        raise DataError("all fifteen corruptions, and the extra four or none", f"no {lacking[0]}", "unpack it")
    return list(asked)


def _place_of(ids: pa.Array, variants: Sequence[str], clean: Sequence[str]) -> np.ndarray:
    """(N,) the place of each clean image among those of the first variant, and so of every other.

    Args:
        ids: `corruption/severity/class/image`, variant by variant.
        variants: their names.
        clean: relative paths of the clean images, whose last two parts are class and image.

    Raises:
        DataError: a clean image has no version.
    """
    first = ids[: len(ids) // len(variants)].to_pylist()
    places = {_stem(PurePosixPath(key).parts): place for place, key in enumerate(first)}
    wanted = [_stem(PurePosixPath(key).parts) for key in clean]
    absent = [key for key in wanted if key not in places]
    if absent:
        found = f"no {absent[0]!r} in {variants[0]} ({len(absent)} such)"
        raise DataError("a version of every clean image", found, "give the clean images that they were made of")
    return np.array([places[key] for key in wanted], np.int64)


def _stem(parts: Sequence[str]) -> str:
    """Class and name of an image without its suffix."""
    return "/".join([*parts[-2:-1], PurePosixPath(parts[-1]).stem])


def _own_size(protocol: PublishedSettings, backbone: Backbone) -> None:
    if backbone.preprocessing.size != (224, 224):
        found = "x".join(map(str, backbone.preprocessing.size))
        raise NotApplicable("an encoder of 224x224 images, as the files are", found, "pass --preprocess size=224")


def _thousand(protocol: PublishedSettings, labels: Labels) -> None:
    if len(labels.classes) != 1000:
        raise NotApplicable("the 1,000 classes of ImageNet", f"{len(labels.classes)}", "use robust/corruptions")


PART = Part(
    settings=PublishedSettings,
    protocols=(
        PublishedSettings(
            name="robust/imagenet-c", summary="the published files (--shift NAME=imagenet-c:PATH): mCE, relative mCE"
        ),
        PublishedSettings(
            name="robust/imagenet-c/own-head", head="own", summary="the same by the checkpoint's own head over ImageNet"
        ),
    ),
    predict=predict_published,
    scorer="imagenet-c",
    headline="mCE",
    asks_shift=True,
    asks_variants=True,
    reads_shifted=False,
    check_encoder=_own_size,
    check_labels=_thousand,
)
