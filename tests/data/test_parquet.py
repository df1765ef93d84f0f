from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.data.source import open_source
from benchmark.errors import DataError
from tests.data.conftest import encoded, travelled


def _pixels(seed: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded(seed))).convert("RGB"))


def _write(path: Path, labels: list[Any], first: int = 0, struct: bool = True, **columns: list[Any]) -> None:
    data = [encoded(first + i) for i in range(len(labels))]
    images = [{"bytes": d, "path": f"{i}.png"} for i, d in enumerate(data)] if struct else data
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": labels, **columns}), path, row_group_size=3)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    _write(tmp_path / "d/train-00000-of-00002.parquet", [0, 1, 1, 0, 1, 0, 0])
    _write(tmp_path / "d/train-00001-of-00002.parquet", [1, 0], first=7)
    _write(tmp_path / "d/test-00000-of-00001.parquet", [1, 0, 1, 1], first=50)
    return tmp_path / "d"


@pytest.mark.parametrize("pattern", ["", "/*.parquet", "/**/*.parquet", "/{train,test}-*.parquet"])
def test_rows_come_back_in_order_across_files_and_row_groups(shards: Path, pattern: str) -> None:
    dataset = open_source("x", f"parquet:{shards}{pattern}")
    train = dataset.splits["train"]
    assert train.targets.tolist() == [0, 1, 1, 0, 1, 0, 0, 1, 0]
    assert train.ids[8].as_py() == "train-00001-of-00002.parquet:1"
    reader = travelled(train.reader)
    for index in (8, 0, 6, 3, 2, 7):
        np.testing.assert_array_equal(np.asarray(reader.read(index)), _pixels(index))
    np.testing.assert_array_equal(np.asarray(dataset.splits["test"].reader.read(3)), _pixels(53))


def test_the_held_row_group_does_not_travel_to_workers(shards: Path) -> None:
    reader = open_source("x", f"parquet:{shards}").splits["train"].reader
    before = len(pickle.dumps(reader))
    reader.read(4)
    assert len(pickle.dumps(reader)) == before


def test_class_names_come_from_the_metadata_of_hugging_face(tmp_path: Path) -> None:
    features = {"label": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    for name, labels in {"train": [2, 0, 1], "test": [1]}.items():
        table = pa.table({"image": [{"bytes": encoded(i), "path": None} for i in range(len(labels))], "label": labels})
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(meta), tmp_path / f"{name}-0.parquet")
    dataset = open_source("x", f"parquet:{tmp_path}")
    assert dataset.classes == ("cat", "dog", "emu")
    assert dataset.splits["train"].targets.tolist() == [2, 0, 1]
    assert dataset.notices == ("test has no image of 2 of 3 classes: 'cat', 'emu'",)


def test_names_lists_plain_bytes_and_id_columns_are_read(tmp_path: Path) -> None:
    _write(tmp_path / "train.parquet", [["a"], ["a", "b"], []], struct=False, key=["k1", "k2", "k3"])
    _write(tmp_path / "validation.parquet", [["b"], ["a"]], struct=False, key=["k4", "k5"])
    dataset = open_source("x", f"parquet:{tmp_path}?id=key")
    assert dataset.reported == "val"
    assert dataset.multilabel
    assert dataset.splits["train"].targets.tolist() == [[1, 0], [1, 1], [0, 0]]
    assert dataset.splits["val"].ids.to_pylist() == ["k4", "k5"]


def test_one_set_of_files_can_be_split(tmp_path: Path) -> None:
    _write(tmp_path / "all.parquet", [0, 1] * 10)
    dataset = open_source("x", f"parquet:{tmp_path}/all.parquet?split=0.3")
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert np.bincount(test.targets).tolist() == [3, 3]
    assert len(train) == 14
    row = int(test.ids[2].as_py().split(":")[1])
    np.testing.assert_array_equal(np.asarray(test.reader.read(2)), _pixels(row))


def test_patterns_name_splits_whatever_the_files_are_called(tmp_path: Path) -> None:
    _write(tmp_path / "x/part0.parquet", [0, 1])
    _write(tmp_path / "x/part1.parquet", [1, 0])
    dataset = open_source("x", f"parquet:{tmp_path}/x?train=part0.parquet&test=part1.parquet")
    assert dataset.splits["test"].targets.tolist() == [1, 0]
    with pytest.raises(DataError, match="a file in one split"):
        open_source("x", f"parquet:{tmp_path}/x?train=part*.parquet&test=part1.parquet")
    (tmp_path / "x").rename(tmp_path / "test")  # the folders above all files say nothing about splits
    with pytest.raises(DataError, match="names that tell their split"):
        open_source("x", f"parquet:{tmp_path}/test")


def test_the_fingerprint_moves_with_the_data_not_with_the_folder(shards: Path, tmp_path: Path) -> None:
    before = open_source("x", f"parquet:{shards}")
    shards.rename(tmp_path / "moved")
    after = open_source("x", f"parquet:{tmp_path / 'moved'}")
    assert after.fingerprint == before.fingerprint
    path = tmp_path / "moved/test-00000-of-00001.parquet"
    raw = bytearray(path.read_bytes())
    raw[60] ^= 1
    path.write_bytes(raw)
    changed = open_source("x", f"parquet:{tmp_path / 'moved'}")
    assert changed.splits["test"].fingerprint != before.splits["test"].fingerprint


def test_what_cannot_be_read_is_refused_in_one_line(shards: Path, tmp_path: Path) -> None:
    def refusal(text: str) -> str:
        with pytest.raises(DataError) as error:
            open_source("x", text)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "did you mean label" in refusal(f"parquet:{shards}?label=lable")
    assert "image bytes" in refusal(f"parquet:{shards}?image=label")
    assert "none at" in refusal(f"parquet:{tmp_path}/*.pq")
    _write(tmp_path / "e/train.parquet", [0, None, 1])
    _write(tmp_path / "e/test.parquet", [0])
    assert "none for row 1 of train" in refusal(f"parquet:{tmp_path}/e")
    whole = (shards / "test-00000-of-00001.parquet").read_bytes()
    (shards / "test-00000-of-00001.parquet").write_bytes(whole[:-50])
    assert "a Parquet file; found" in refusal(f"parquet:{shards}")
    _write(shards / "test-00000-of-00001.parquet", ["a", "b"])
    assert "one type in every split" in refusal(f"parquet:{shards}")
    _write(shards / "train-00001-of-00002.parquet", ["a", "b"])
    assert "write the files alike" in refusal(f"parquet:{shards}")


def test_a_row_without_an_image_is_named(tmp_path: Path) -> None:
    table = pa.table({"image": [encoded(0), None], "label": [0, 1]})
    for name in ("train", "test"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    dataset = open_source("x", f"parquet:{tmp_path}")
    with pytest.raises(DataError, match=r"row 1 of row group 0 of train\.parquet"):
        dataset.splits["train"].reader.read(1)
