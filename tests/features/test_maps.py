"""Patch maps come back as the encoder gave them, image by image, and never outgrow the disk unsaid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.sample import first_drawn
from benchmark.data.source import open_source
from benchmark.errors import DataError
from benchmark.features import maps
from benchmark.features.maps import check_room, extract_maps, map_bytes, map_shapes, missing_maps, open_maps
from benchmark.features.store import FeatureStore
from tests.features.test_extract import small_backbone


@pytest.fixture
def train():  # type: ignore[no-untyped-def]
    return open_source("s", "scenes:?train=37&test=10&classes=4&size=32").splits["train"]


def test_maps_are_those_of_the_encoder_at_any_row(train, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model, store = small_backbone(), FeatureStore(tmp_path)
    shapes = map_shapes(model, 2)
    assert missing_maps(model, train, store, tuple(shapes)) == 37
    done = extract_maps(model, train, tuple(shapes), store, workers=0)
    assert done.encoded == 37 and missing_maps(model, train, store, tuple(shapes)) == 0
    rows = [36, 0, 15, 16, 31]
    pixels = np.stack([model.preprocessing.geometry(train.reader.read(row)) for row in rows])
    expected = model.encode(torch.from_numpy(pixels), [], layers=2).maps
    for layer, shape in shapes.items():
        found = open_maps(done.features, layer, shape)
        assert len(found) == 37
        got = found.read(rows)
        assert got.shape == (5, *shape)
        torch.testing.assert_close(got, expected[layer], rtol=2e-3, atol=2e-3 * float(expected[layer].abs().max()))
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.npy"))
    assert written == pytest.approx(37 * map_bytes(shapes), rel=0.05)
    assert extract_maps(model, train, tuple(shapes), store, workers=0).encoded == 0


def test_what_does_not_fit_is_refused_with_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path / "nowhere" / "yet")
    check_room(store, 10, {0: (8, 4, 4)})
    monkeypatch.setattr(maps, "FREE_SHARE", 0.0)
    with pytest.raises(DataError, match=r"10 images of 0.0 MB.*--cache"):
        check_room(store, 10, {0: (8, 4, 4)})


def test_a_limit_takes_the_same_images_wherever_they_lie(train) -> None:  # type: ignore[no-untyped-def]
    few = first_drawn(train, 10)
    assert len(few) == 10 and few.masks is not None and len(few.masks) == 10 and first_drawn(train, 37) is train
    assert set(few.ids.to_pylist()) <= set(first_drawn(train, 20).ids.to_pylist())
    place = train.ids.to_pylist().index(few.ids[3].as_py())
    assert np.array_equal(few.masks.mask(3), train.masks.mask(place))
    assert few.state != train.state and few.fingerprint != train.fingerprint
