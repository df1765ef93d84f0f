"""The audit of preprocessing: wrong statistics are found, right ones are left in peace."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.sources import open_backbone
from benchmark.data.sample import balanced_sample
from benchmark.data.source import open_source
from benchmark.demo import CARDS
from benchmark.errors import BackboneError, DataError
from benchmark.features.store import FeatureStore
from benchmark.runner.audit import DECLARED, Audit, Row, audit, audit_checkpoint, plausible, render_audit
from benchmark.suites.cards import load_cards

SCENES = "scenes:?size=64&classes=5&train=350&test=10"


@contextlib.contextmanager
def bar(_: str) -> Iterator[Any]:
    yield lambda done, total, what: None


def audited(tmp_path: Path, *changes: str) -> Audit:
    card = next(card for card in load_cards(CARDS) if card.name == "supervised")
    kept = [setting for setting in card.preprocess if setting.split("=")[0] not in {c.split("=")[0] for c in changes}]
    backbone = open_backbone(card.checkpoint, arch=card.arch, preprocess=[*kept, *changes])
    return audit(backbone, open_source("audit", SCENES), FeatureStore(tmp_path), images=200, workers=0, bar=bar)


def test_plausible_settings_are_different_and_begin_with_the_declared_one() -> None:
    declared = Preprocessing(size=(64, 64))
    settings = plausible(declared)
    assert next(iter(settings)) == DECLARED and settings[DECLARED] == declared
    assert "mean, std of ImageNet" not in settings  # it is the declared one
    assert len({setting.key() for setting in settings.values()}) == len(settings) >= 8
    assert {setting.size for setting in settings.values()} == {(64, 64)}


def test_wrong_statistics_are_warned_of_and_right_ones_are_not(tmp_path: Path) -> None:
    right = audited(tmp_path)
    assert right.warning == "" and right.images == 200 and right.rows[0].setting == DECLARED
    wrong = audited(tmp_path, "mean=103.53,116.28,123.675", "std=1", "channel_order=bgr", "value_range=255")
    assert "check --preprocess" in wrong.warning
    # The same features, found from both sides.
    theirs = {row.setting: row.top1 for row in right.rows}
    ours = {row.setting: row.top1 for row in wrong.rows}
    assert ours["mean 0.5, std 0.5"] == right.rows[0].top1 and theirs["BGR, 0..255 (Caffe)"] == wrong.rows[0].top1
    assert wrong.rows[0].top1 < ours["mean 0.5, std 0.5"] - 10


def test_a_lead_that_may_be_luck_asks_for_more_images() -> None:
    console = Console(file=io.StringIO(), width=120, record=True)
    rows = (Row(DECLARED, 60.0, 0.0, 1.0), Row("bilinear", 64.0, 4.0, 0.2))
    console.print(render_audit(Audit(rows, 200, 10, "")))
    assert "--images 800 could" in " ".join(console.export_text().split())


def test_a_sample_is_balanced_and_the_same_each_time() -> None:
    split = open_source("audit", SCENES).splits["train"]
    sample = balanced_sample(split, 60, 20)
    assert len(sample) == 60 and set(np.bincount(sample.targets)[np.unique(sample.targets)]) == {20}
    assert sample.ids == balanced_sample(split, 60, 20).ids != balanced_sample(split, 60, 20, seed=1).ids
    assert sample.state != split.state
    with_all = {str(name): index for index, name in enumerate(split.ids)}
    image = sample.reader.read(3)
    assert np.array_equal(np.asarray(image), np.asarray(split.reader.read(with_all[str(sample.ids[3])])))


def test_an_audit_needs_images_and_the_same_input_size() -> None:
    with pytest.raises(DataError, match="--data"):
        audit_checkpoint("random:test_vit", None)
    backbone = open_backbone("random:test_resnet", preprocess=["size=64"])
    with pytest.raises(BackboneError, match="input size"):
        backbone.under(Preprocessing(size=(96, 96)))
