from __future__ import annotations

import builtins
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data.source import open_source
from benchmark.errors import DataError
from tests.data.conftest import encoded, travelled

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def _rows(labels: list[Any], feature: Any, first: int = 0, label: str = "label") -> Any:
    features = datasets.Features({"image": datasets.Image(), label: feature})
    images = [{"bytes": encoded(first + i), "path": None} for i in range(len(labels))]
    return datasets.Dataset.from_dict({"image": images, label: labels}, features=features)


def _three() -> Any:
    return datasets.ClassLabel(names=["cat", "dog", "emu"])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    both = {"train": _rows([2, 0, 1, 0], _three()), "validation": _rows([1, 2, 0], _three(), 50)}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_dataset_saved_to_disk_is_read(saved: Path) -> None:
    dataset = open_source("x", f"hf:{saved}")
    assert dataset.classes == ("cat", "dog", "emu")
    assert dataset.reported == "val"
    assert dataset.splits["val"].targets.tolist() == [1, 2, 0]
    assert dataset.splits["val"].ids.to_pylist() == ["validation/0", "validation/1", "validation/2"]
    reader = travelled(dataset.splits["val"].reader)
    expected = np.asarray(Image.open(io.BytesIO(encoded(52))).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(reader.read(2)), expected)


def test_a_folder_of_parquet_files_is_read_as_the_same_data(saved: Path, tmp_path: Path) -> None:
    loaded = datasets.load_from_disk(str(saved))
    for name in ("train", "validation"):
        loaded[name].to_parquet(tmp_path / f"pq/data/{name}-00000-of-00001.parquet")
    dataset, direct = open_source("x", f"hf:{tmp_path}/pq"), open_source("x", f"parquet:{tmp_path}/pq")
    assert dataset.fingerprint == open_source("x", f"hf:{saved}").fingerprint
    assert direct.classes == dataset.classes
    for split in ("train", "val"):
        np.testing.assert_array_equal(direct.splits[split].targets, dataset.splits[split].targets)
        for index in range(3):
            a, b = (np.asarray(d.splits[split].reader.read(index)) for d in (direct, dataset))
            np.testing.assert_array_equal(a, b)


def test_an_image_folder_is_read_through_the_library_as_through_folder(tree: Path) -> None:
    ours, theirs = open_source("x", f"folder:{tree}"), open_source("x", f"hf:{tree}")
    assert theirs.classes == ours.classes
    for name in ("train", "test"):
        assert sorted(theirs.splits[name].targets) == sorted(ours.splits[name].targets)
        images = [sorted(np.asarray(d.splits[name].reader.read(i)).tobytes() for i in range(4)) for d in (ours, theirs)]
        assert images[0] == images[1]


def test_lists_of_class_labels_are_multi_label(tmp_path: Path) -> None:
    try:
        feature = datasets.List(_three())
    except AttributeError:
        feature = datasets.Sequence(_three())
    both = {"train": _rows([[0, 2], [1], []], feature, label="tags"), "test": _rows([[1], [0]], feature, label="tags")}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "m")
    dataset = open_source("x", f"hf:{tmp_path}/m?label=tags")
    assert dataset.classes == ("cat", "dog", "emu")
    assert dataset.splits["train"].targets.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_a_single_split_can_be_split(tmp_path: Path) -> None:
    _rows([0, 1, 2] * 5, _three()).save_to_disk(tmp_path / "one")
    dataset = open_source("x", f"hf:{tmp_path}/one?split=0.2")
    assert np.bincount(dataset.splits["test"].targets).tolist() == [1, 1, 1]
    row = int(dataset.splits["test"].ids[1].as_py().split("/")[1])
    expected = np.asarray(Image.open(io.BytesIO(encoded(row))).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(dataset.splits["test"].reader.read(1)), expected)


def test_the_fingerprint_follows_the_data_and_the_state_the_files(saved: Path, tmp_path: Path) -> None:
    before = open_source("x", f"hf:{saved}")
    shutil.copytree(saved, tmp_path / "copy")
    copied = open_source("x", f"hf:{tmp_path}/copy")
    assert copied.fingerprint == before.fingerprint
    assert copied.splits["train"].state != before.splits["train"].state
    both = {"train": _rows([2, 0, 1, 0], _three(), 1), "validation": _rows([1, 2, 0], _three(), 50)}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "other")
    other = open_source("x", f"hf:{tmp_path}/other")
    assert other.splits["train"].fingerprint != before.splits["train"].fingerprint
    assert other.splits["val"].fingerprint == before.splits["val"].fingerprint


def test_what_cannot_be_loaded_is_refused_in_one_line(saved: Path, tmp_path: Path) -> None:
    _rows([0, -1, 1], _three()).save_to_disk(tmp_path / "unlabelled")
    (tmp_path / "empty").mkdir()
    for text, says in {
        f"hf:{saved}?label=lable": "did you mean label",
        f"hf:{saved}?image=label": "a column of images",
        f"hf:{saved}?test=tset": "splits ['train', 'validation']",
        f"hf:{saved}?split=0.2": "leave split= away",
        f"hf:{tmp_path}/unlabelled": "a train split and a test or validation split",
        f"hf:{tmp_path}/unlabelled?split=0.5": "-1 (which marks an unlabelled split)",
        f"hf:{tmp_path}/empty": "a dataset that can be loaded",
        "hf:nobody/nothing": "a dataset that can be loaded; found 'hf:nobody/nothing'",
        "hf:": "hf:NAME",
        "hf:a/b/c/d": "hf:NAME",
    }.items():
        with pytest.raises(DataError) as refusal:
            open_source("x", text)
        assert says in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def absent(name: str, *args: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(DataError, match=r"pip install 'transferbench\[hub\]'"):
        open_source("x", "hf:org/name")
