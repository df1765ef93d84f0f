"""The feature store keeps what it promises: exact enough, whole or absent, never silently damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.features.store import CHUNK_IMAGES, FeatureKey, FeatureStore, chunk_count, chunk_range


def make_key(n: int, **changes: object) -> FeatureKey:
    fields = {"weights": "w", "preprocessing": "p", "precision": "fp32", "data": "d", "split": "train", "n": n}
    return FeatureKey(**{**fields, **changes})  # type: ignore[arg-type]


def fill(store: FeatureStore, key: FeatureKey, name: str, features: torch.Tensor) -> None:
    for chunk in range(chunk_count(key.n)):
        rows = chunk_range(key.n, chunk)
        store.write(key, name, chunk, features[rows.start : rows.stop], {})


@pytest.mark.parametrize("magnitude", [1e-6, 1e-3, 1.0, 1e3, 1e6, 1e9])
def test_features_come_back_within_half_precision_at_any_magnitude(tmp_path: Path, magnitude: float) -> None:
    store, key = FeatureStore(tmp_path), make_key(CHUNK_IMAGES + 17)
    features = torch.randn(key.n, 5, generator=torch.Generator().manual_seed(0)) * magnitude
    fill(store, key, "cls", features)
    loaded = store.open(key, ["cls"]).load("cls")
    assert loaded.dtype == torch.float32
    # float16 has 11 significant bits; below 2**-24 of the largest value it runs out of exponent
    bound = features.abs() * 2.0**-11 + float(features.abs().max()) * 2.0**-33
    assert bool(((loaded - features).abs() <= bound).all())


def test_scale_is_a_power_of_two_so_that_it_costs_no_precision(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path), make_key(3)
    features = torch.tensor([[1.0, -3.5], [0.25, 2.0], [0.0, 1024.0]])
    fill(store, key, "gap", features)
    assert torch.equal(store.open(key, ["gap"]).load("gap"), features)


def test_every_field_of_the_key_makes_other_features() -> None:
    base = make_key(10)
    others = [make_key(10, **{field: "other"}) for field in ("weights", "preprocessing", "precision", "data", "split")]
    others += [make_key(11), make_key(10, extraction=99)]
    assert len({key.digest for key in (base, *others)}) == len(others) + 1


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete array", "delete record", "wrong record"])
def test_a_damaged_chunk_is_missing_again(tmp_path: Path, damage: str) -> None:
    store, key = FeatureStore(tmp_path), make_key(CHUNK_IMAGES * 2)
    fill(store, key, "cls", torch.randn(key.n, 4))
    assert store.missing(key, "cls") == []
    array, record = (store.folder(key) / "cls" / f"00001.{suffix}" for suffix in ("npy", "json"))
    raw = bytearray(array.read_bytes())
    if damage == "flip":
        raw[-3] ^= 1
        array.write_bytes(raw)
    elif damage == "truncate":
        array.write_bytes(raw[:-100])
    elif damage == "empty":
        array.write_bytes(b"")
    elif damage == "delete array":
        array.unlink()
    elif damage == "delete record":
        record.unlink()
    else:
        record.write_text(json.dumps({**json.loads(record.read_text()), "rows": 7}))
    assert store.missing(key, "cls") == [1]


def test_skipped_images_have_no_row_and_are_remembered(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path), make_key(CHUNK_IMAGES + 4)
    rows = torch.arange(key.n, dtype=torch.float32)[:, None]
    skipped = {3: "truncated", CHUNK_IMAGES + 1: "empty"}
    for chunk in range(2):
        positions = [i for i in chunk_range(key.n, chunk) if i not in skipped]
        mine = {i: why for i, why in skipped.items() if i in chunk_range(key.n, chunk)}
        store.write(key, "cls", chunk, rows[positions], mine)
    features = store.open(key, ["cls"])
    assert features.skipped == skipped
    assert torch.equal(features.load("cls")[:, 0], torch.from_numpy(features.kept).float())
    assert np.array_equal(np.setdiff1d(np.arange(key.n), features.kept), sorted(skipped))


def test_a_chunk_of_which_every_image_is_skipped_does_not_hide_the_others(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path), make_key(CHUNK_IMAGES + 2)
    store.write(key, "cls", 0, torch.empty(0, 0), dict.fromkeys(range(CHUNK_IMAGES), "unreadable"))
    store.write(key, "cls", 1, torch.ones(2, 3), {})
    assert store.missing(key, "cls") == []
    assert torch.equal(store.open(key, ["cls"]).load("cls"), torch.ones(2, 3))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_never_stored(tmp_path: Path, bad: float) -> None:
    store, key = FeatureStore(tmp_path), make_key(2)
    with pytest.raises(ValueError, match="not finite"):
        store.write(key, "cls", 0, torch.tensor([[1.0, bad], [0.0, 0.0]]), {})
    assert store.missing(key, "cls") == [0]


def test_a_chunk_with_too_few_rows_is_refused(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path), make_key(5)
    with pytest.raises(ValueError, match="4 rows"):
        store.write(key, "cls", 0, torch.ones(4, 2), {})
