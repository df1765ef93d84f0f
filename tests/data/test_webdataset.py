from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from benchmark.data.shards import expand_braces, split_of
from benchmark.data.source import open_source
from benchmark.errors import DataError
from tests.data.conftest import encoded, travelled


def _shard(path: Path, members: dict[str, bytes], mode: Literal["w", "w:gz"] = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _samples(start: int, labels: list[int]) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for i, label in enumerate(labels, start):
        members |= {f"s{i:04d}.cls": b"%d\n" % label, f"s{i:04d}.png": encoded(i)}
    return members


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    _shard(tmp_path / "w/train-000.tar", _samples(0, [0, 1, 0]))
    _shard(tmp_path / "w/train-001.tar", _samples(3, [1, 1]))
    _shard(tmp_path / "w/val-000.tar", _samples(40, [1, 0]))
    return tmp_path / "w"


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/{train-{000..001},val-000}.tar", "/*-00?.tar"])
def test_samples_are_read_at_random_from_every_shard(shards: Path, pattern: str) -> None:
    dataset = open_source("x", f"wds:{shards}{pattern}")
    train = dataset.splits["train"]
    assert dataset.reported == "val"
    assert train.targets.tolist() == [0, 1, 0, 1, 1]
    assert train.ids[3].as_py() == "train-001.tar/s0003"
    reader = travelled(train.reader)
    for index in (4, 0, 3, 1):
        expected = np.asarray(Image.open(io.BytesIO(encoded(index))).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(reader.read(index)), expected)


def test_labels_may_be_json_names_or_lists(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for key, label in {"a": ["x"], "b": ["x", "y"], "sub/c": ["y"]}.items():
        members |= {f"{key}.json": json.dumps({"tags": label}).encode(), f"{key}.JPG": encoded(1, "jpeg")}
    for name in ("train", "test"):
        _shard(tmp_path / f"{name}.tar", members)
    dataset = open_source("x", f"wds:{tmp_path}/*.tar?key=tags")
    assert dataset.classes == ("x", "y")
    assert dataset.splits["test"].targets.tolist() == [[1, 0], [1, 1], [0, 1]]
    with pytest.raises(DataError, match="'label' in the JSON label"):
        open_source("x", f"wds:{tmp_path}/*.tar")


def test_shards_without_splits_can_be_split(tmp_path: Path) -> None:
    _shard(tmp_path / "a-0.tar", _samples(0, [0, 1] * 5))
    dataset = open_source("x", f"wds:{tmp_path}/a-0.tar?split=0.2")
    assert np.bincount(dataset.splits["test"].targets).tolist() == [1, 1]
    assert len(dataset.splits["train"]) == 8


def test_a_changed_image_of_the_same_size_changes_the_fingerprint(shards: Path, tmp_path: Path) -> None:
    before = open_source("x", f"wds:{shards}")
    shards.rename(tmp_path / "moved")
    assert open_source("x", f"wds:{tmp_path / 'moved'}").fingerprint == before.fingerprint
    path = tmp_path / "moved/val-000.tar"
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"IDAT") + 10] ^= 1
    path.write_bytes(raw)
    after = open_source("x", f"wds:{tmp_path / 'moved'}")
    assert after.splits["val"].fingerprint != before.splits["val"].fingerprint
    assert after.splits["train"].fingerprint == before.splits["train"].fingerprint


def _refusal(text: str) -> str:
    with pytest.raises(DataError) as error:
        open_source("x", text)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"../../evil.png": b"x"}, "names inside the shard; found '../../evil.png'"),
        ({"/etc/evil.png": b"x"}, "names inside the shard"),
        ({"a.png": encoded(0)}, "one label (cls, json, txt) per sample; found members ['png'] of 'a'"),
        ({"a.cls": b"0"}, "one image"),
        ({"a.cls": b"0", "a.png": encoded(0), "a.jpg": encoded(0, "jpeg")}, "name its extension with ?image="),
        ({"a.cls": b"", "a.png": encoded(0), "b.cls": b"x", "b.png": encoded(0)}, "an empty .cls in 'a'"),
        ({"a.cls": b"0", "a.png": encoded(0), "b.cls": b"x", "b.png": encoded(0)}, "labels of one type"),
        ({"a.json": b"{", "a.png": encoded(0)}, "a .json label"),
        ({}, "none in"),
    ],
)
def test_a_shard_that_breaks_the_rules_is_refused(members: dict[str, bytes], says: str, shards: Path) -> None:
    _shard(shards / "train-002.tar" if members else shards / "train-000.tar", members)
    if not members:
        (shards / "train-001.tar").unlink()
    assert says in _refusal(f"wds:{shards}")


def test_links_compressed_and_truncated_shards_are_refused(shards: Path) -> None:
    with tarfile.open(shards / "train-002.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert "a link or device" in _refusal(f"wds:{shards}")
    _shard(shards / "train-002.tar", _samples(9, [0]), "w:gz")
    assert "uncompressed shards only" in _refusal(f"wds:{shards}")
    _shard(shards / "train-002.tar", {"s.cls": b"0", "s.png": encoded(0, size=64)})
    whole = (shards / "train-002.tar").read_bytes()
    (shards / "train-002.tar").write_bytes(whole[:4000])
    assert "train-002.tar" in _refusal(f"wds:{shards}")
    (shards / "train-002.tar").unlink()
    assert "none at" in _refusal(f"wds:{shards}/train-{{000..002}}.tar")


def test_braces_expand_as_in_a_shell() -> None:
    assert expand_braces("a{08..11}b") == ["a08b", "a09b", "a10b", "a11b"]
    assert expand_braces("{x,y}{0..1}") == ["x0", "x1", "y0", "y1"]
    assert sorted(expand_braces("{t-{0..1},v}")) == ["t-0", "t-1", "v"]
    assert expand_braces("plain") == ["plain"]


def test_names_tell_the_split() -> None:
    assert split_of("/x/train-0001.tar") == "train"
    assert split_of("/x/imagenet_validation.0.tar") == "val"
    assert split_of("/data/test/shard-1.tar") == "test"
    assert split_of("/train/test-0.tar") == "test"  # the name counts before the folder
    assert split_of("/x/train-test.tar") is None
    assert split_of("/x/trained.tar") is None
