"""The published files of ImageNet-C: already cropped and resized, so they are taken as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from benchmark.backbones.backbone import Backbone
from benchmark.data.dataset import ImageReader, Split
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
    if images.shifted is None:
        raise RuntimeError("a shift without shifted images")
    places = places_of(images.shifted.ids.to_pylist(), features.test.ids.to_pylist())
    judge = judge_of(features, protocol, seed)
    asked = asked_of(inputs, protocol.n)
    found = {name: np.zeros((len(asked), SEVERITIES), np.int32) for name in places}
    exact = _AsTheyAre(images.shifted.reader, images.backbone.preprocessing.size)
    shifted = replace(images.shifted, reader=exact)
    whole = images.backbone.under(images.backbone.preprocessing.pinned(crop_pct=1.0))
    as_they_are = replace(inputs, images=replace(images, backbone=whole))
    done, total = 0, len(asked) * len(places) * SEVERITIES
    for name, rows in places.items():
        for severity in range(SEVERITIES):
            for pixels, here in pixels_of(as_they_are, _variant(shifted, rows[severity][asked.rows], name, severity)):
                found[name][here, severity] = judge.of_images(images.backbone, pixels).argmax(dim=1).cpu().numpy()
                done += len(here)
                images.progress(done, total, f"{name} {severity + 1}")
    clean = judge.logits(asked.features).argmax(dim=1).cpu().numpy()
    table = corruptions_table(asked.ids, asked.targets, clean, found, len(features.classes), "imagenet-c")
    errors = {name: 100 * (classes != asked.targets[:, None]).mean(axis=0) for name, classes in found.items()}
    rounded = {name: np.round(values, 4).tolist() for name, values in errors.items()}
    details = {"corruption_errors": rounded, "head": judge.details, "images": len(asked)}
    return Predictions(table, judge.how, judge.held_out, details)


def places_of(ids: Sequence[str], clean: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Corruption -> (5, N) where the version of each clean image is at each severity.

    Args:
        ids: `corruption/severity/class/image` of the published files.
        clean: (N,) relative paths of the clean images, whose last two parts are class and image.

    Raises:
        DataError: a corruption is missing or unknown, the extra four are not all there, or a clean image lacks one.
    """
    where: dict[tuple[str, str], dict[str, int]] = {}
    for row, key in enumerate(ids):
        change, severity, *rest = PurePosixPath(key).parts
        where.setdefault((change, severity), {})[_stem(rest)] = row
    names = list(dict.fromkeys(change for change, _ in where))
    lacking = [name for name in FIFTEEN if name not in names]
    lacking += [name for name in EXTRA if name not in names] if set(names) & set(EXTRA) else []
    if lacking:
        raise DataError("all fifteen corruptions, and the extra four or none", f"no {lacking[0]}", "unpack it")
    strange = [name for name in names if name not in (*FIFTEEN, *EXTRA)]
    if strange:
        raise DataError("the corruptions of ImageNet-C", repr(strange[0]), nearest(strange[0], (*FIFTEEN, *EXTRA)))
    wanted = [_stem(PurePosixPath(key).parts) for key in clean]
    places = {}
    for name in (*FIFTEEN, *EXTRA):
        if name not in names:
            continue
        rows = np.empty((SEVERITIES, len(wanted)), np.int64)
        for level in range(SEVERITIES):
            there = where.get((name, str(level + 1)), {})
            absent = [key for key in wanted if key not in there]
            if absent:
                found = f"no {absent[0]!r} in {name}/{level + 1} ({len(absent)} such)"
                raise DataError("a version of every clean image", found, "give the clean images that they were made of")
            rows[level] = [there[key] for key in wanted]
        places[name] = rows
    return places


def _stem(parts: Sequence[str]) -> str:
    """Class and name of an image without its suffix."""
    return "/".join([*parts[-2:-1], PurePosixPath(parts[-1]).stem])


def _variant(shifted: Split, rows: np.ndarray, name: str, severity: int) -> Split:
    """The versions of the asked images in their order, which need not be that of the files."""
    return chosen_images(shifted, rows, f"{name} {severity}")


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
