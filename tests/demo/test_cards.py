"""The shipped backbones: small files that open like anybody's, and rank as their training says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.sources import open_backbone
from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.storage import LazyTensor
from benchmark.data.source import open_source
from benchmark.demo import CARDS, demo_request
from benchmark.demo.methods import ARCH, normalise
from benchmark.demo.train import METHODS
from benchmark.runner.registry import load_protocol, load_task
from benchmark.suites.cards import ModelCard, load_cards
from benchmark.suites.suite import load_suite

NAMES = ("supervised", "contrastive", "masked", "random")
LIMIT = 1_100_000  # bytes: about one megabyte


@pytest.fixture(scope="module")
def cards() -> dict[str, ModelCard]:
    return {card.name: card for card in load_cards(CARDS)}


def opened(card: ModelCard) -> Backbone:
    return open_backbone(card.checkpoint, arch=card.arch, preprocess=card.preprocess)


def test_the_demo_asks_four_models_for_the_frozen_battery_segmentation_and_robustness(tmp_path: Path) -> None:
    request = demo_request(tmp_path / "out", tmp_path / "cache", "cpu")
    assert tuple(card.name for card in request.models) == NAMES
    assert (request.data, request.tasks) == ({}, ())
    asked, frozen = load_suite(request.suite), load_suite("frozen")
    pooled = [entry for entry in asked.tasks if entry.task not in ("segmentation", "robustness")]
    assert [(entry.task, entry.protocol) for entry in pooled] == [
        (entry.task, entry.protocol) for entry in frozen.tasks
    ]
    assert {entry.datasets for entry in pooled} == {("scenes",)} and asked.datasets["scenes"] == "scenes:"
    dense = [entry for entry in asked.tasks if entry.task == "segmentation"]
    assert [entry.protocol for entry in dense] == ["seg/linear@tiny"]
    for entry in dense:
        protocol = load_protocol(load_task("segmentation"), entry.protocol, entry.settings)
        assert protocol.size == 128 and entry.datasets == ("scenes128",)
    changed = [(entry.protocol, entry.datasets) for entry in asked.tasks if entry.task == "robustness"]
    assert changed == [("robust/corruptions", ("scenes",)), ("robust/shift", ("harder",))]
    assert (request.out, request.cache, request.device) == (tmp_path / "out", tmp_path / "cache", "cpu")
    assert demo_request(tmp_path, None, "auto").cache != tmp_path


def test_every_method_that_the_script_trains_has_a_card_of_the_one_architecture(cards: dict[str, ModelCard]) -> None:
    assert set(cards) == {*METHODS, "random"}
    assert {cards[name].arch for name in METHODS} == {ARCH}
    assert cards["random"].checkpoint == f"random:{ARCH}"


@pytest.mark.parametrize("name", METHODS)
def test_a_shipped_file_is_small(name: str, cards: dict[str, ModelCard]) -> None:
    assert 0 < Path(cards[name].checkpoint).stat().st_size <= LIMIT


@pytest.mark.parametrize("name", METHODS)
def test_every_tensor_of_a_shipped_file_is_in_the_encoder_or_dropped_for_a_reason(
    name: str, cards: dict[str, ModelCard]
) -> None:
    backbone = opened(cards[name])
    held = {place for place, value in leaves(Path(cards[name].checkpoint)) if isinstance(value, LazyTensor)}
    prefix = "" if name == "supervised" else "encoder."
    loaded = {prefix + key for key in backbone.module.state_dict()}
    extra = {"supervised": "head.", "contrastive": "projector.", "masked": "decoder."}[name]
    assert loaded < held
    assert {key for key in held - loaded if not key.startswith(extra)} == set()
    assert {prefix + key if prefix + key in held else key for key in backbone.origin.dropped} == held - loaded
    assert all(backbone.origin.dropped.values())


def leaves(path: Path) -> list[tuple[str, object]]:
    tree = open_archive(path).tree
    return list(tree.items())


def test_only_the_supervised_backbone_brings_a_classifier(cards: dict[str, ModelCard]) -> None:
    heads = {name: opened(card).head for name, card in cards.items()}
    assert [name for name, head in heads.items() if head is not None] == ["supervised"]
    assert heads["supervised"] is not None
    assert heads["supervised"].weight.shape == (30, 256)


def test_the_four_share_an_architecture_and_no_weights(cards: dict[str, ModelCard]) -> None:
    backbones = [opened(card) for card in cards.values()]
    assert len({(backbone.arch, backbone.params, backbone.preprocessing.key()) for backbone in backbones}) == 1
    assert len({backbone.weights_hash for backbone in backbones}) == 4


def test_an_evaluation_sees_pixels_as_training_did(cards: dict[str, ModelCard]) -> None:
    preprocessing = opened(cards["masked"]).preprocessing
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(preprocessing.normalise(preprocessing.fit(images)), normalise(images / 255).contiguous())


@pytest.mark.slow
def test_neighbours_in_kinds_never_trained_on_rank_labels_over_views_over_holes_over_nothing(
    cards: dict[str, ModelCard],
) -> None:
    splits = open_source("scenes", "scenes:?train=1200&test=1000&seed=5").splits
    images = {
        name: torch.from_numpy(np.stack([np.asarray(split.reader.read(i)) for i in range(len(split))])).movedim(3, 1)
        for name, split in splits.items()
    }
    accuracy = {}
    for name, card in cards.items():
        backbone = opened(card)
        representation = backbone.default_representation
        features = {
            split: torch.nn.functional.normalize(
                torch.cat(
                    [backbone.encode(part, (representation,), 0).global_(representation) for part in pixels.split(200)]
                )
            ).numpy()
            for split, pixels in images.items()
        }
        neighbours = KNeighborsClassifier(20).fit(features["train"], splits["train"].targets)
        accuracy[name] = float(neighbours.score(features["test"], splits["test"].targets))
    assert sorted(accuracy, key=accuracy.__getitem__, reverse=True) == list(NAMES), accuracy
    assert accuracy["random"] < 0.2  # chance is 0.1
    assert 0.3 < accuracy["supervised"] < 0.95
