from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmark.data import fingerprint
from benchmark.data.dataset import Split
from benchmark.data.fingerprint import combine, of_content, of_labels, of_strings
from benchmark.data.source import open_source


def _train(root: Path) -> Split:
    return open_source("x", f"folder:{root}").splits["train"]


def test_the_same_tree_elsewhere_has_the_same_fingerprint(tree: Path, tmp_path: Path) -> None:
    before = open_source("x", f"folder:{tree}")
    moved = tmp_path / "somewhere" / "else"
    shutil.copytree(tree, moved)
    shutil.rmtree(tree)
    after = open_source("y", f"folder:{moved}")
    assert after.fingerprint == before.fingerprint
    assert _train(moved).state == _train(moved).state


def test_changed_content_of_the_same_size_and_time_is_noticed(tree: Path) -> None:
    before, path = _train(tree), tree / "train/cat/1.png"
    stat = path.stat()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    after = _train(tree)
    assert after.fingerprint != before.fingerprint
    assert after.state != before.state


def test_a_missing_an_added_and_a_renamed_file_are_noticed(tree: Path) -> None:
    seen = [_train(tree)]
    (tree / "train/cat/2.png").rename(tree / "train/cat/3.png")
    seen.append(_train(tree))
    shutil.copy(tree / "train/cat/3.png", tree / "train/cat/4.png")
    seen.append(_train(tree))
    (tree / "train/cat/3.png").unlink()
    seen.append(_train(tree))
    assert len({split.fingerprint for split in seen}) == 4
    assert len({split.state for split in seen}) == 4


def test_a_file_in_another_class_is_noticed(tree: Path) -> None:
    before = _train(tree)
    for name in ("cat", "dog"):
        (tree / f"train/{name}").rename(tree / f"train/{name}_")
    (tree / "train/cat_").rename(tree / "train/dog")
    (tree / "train/dog_").rename(tree / "train/cat")
    assert _train(tree).fingerprint != before.fingerprint


def test_a_touched_file_changes_the_state_only(tree: Path) -> None:
    before = _train(tree)
    os.utime(tree / "train/dog/0.png", ns=(1, 1))
    after = _train(tree)
    assert (after.fingerprint == before.fingerprint, after.state == before.state) == (True, False)


def test_beyond_the_sample_a_change_unseen_by_the_fingerprint_is_seen_by_the_state(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "SAMPLED_FILES", 2)
    before, path = _train(tree), tree / "train/cat/1.png"  # the sample is the first and the fourth of six
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    after = _train(tree)
    assert (after.fingerprint == before.fingerprint, after.state == before.state) == (True, False)
    path.write_bytes(raw + b"longer")
    assert _train(tree).fingerprint != before.fingerprint


def test_head_tail_and_pieces_between_are_looked_at(tmp_path: Path) -> None:
    size, piece = 10 * fingerprint.PIECE, fingerprint.PIECE
    base = bytes(size)
    path = tmp_path / "x"

    def digest(change_at: int | None, pieces: int) -> str:
        raw = bytearray(base)
        if change_at is not None:
            raw[change_at] = 1
        path.write_bytes(raw)
        return of_content(path, pieces)

    for at in (0, piece - 1, size - piece, size - 1):
        assert digest(at, 2) != digest(None, 2)
    assert digest(size // 2, 2) == digest(None, 2)
    assert digest(size // 2, 3) != digest(None, 3)
    assert all(digest(at, 10) != digest(None, 10) for at in range(0, size, piece // 2))


def test_order_and_arrow_representation_do_not_matter_but_pairing_does() -> None:
    ids, targets = pa.array(["b", "a", "ü"]), np.array([1, 0, 2])
    swapped = of_labels(pa.array(["a", "b", "ü"]), np.array([0, 1, 2]))
    assert of_labels(ids, targets) == swapped
    assert of_labels(ids, np.array([0, 1, 2])) != swapped
    assert of_strings(pa.array(["x", "a", "b"]).slice(1)) == of_strings(pa.array(["a", "b"]))
    assert of_strings(pa.array(["ab", ""])) != of_strings(pa.array(["a", "b"]))
    assert combine(["ab", ""]) != combine(["a", "b"])
