"""A file that is no readable checkpoint is named for what it is, in one line."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.checkpoints.archive import open_archive, walk
from benchmark.checkpoints.formats import recognise
from benchmark.checkpoints.storage import LazyTensor
from benchmark.errors import CheckpointError


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("weights/model.pth"), io.BytesIO())


def _keras(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"")


def _npy(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.ones(3))


def _bytes(raw: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(raw)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (_bytes(b""), "an empty file"),
    "gzip": (_bytes(gzip.compress(b"x" * 100)), "gzip"),
    "tar": (_tar, "a tar archive"),
    "hdf5": (_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 64), "HDF5"),
    "keras": (_keras, "without torch's data.pkl"),
    "npy": (_npy, "single numpy array"),
    "tensorflow": (_bytes(b"\0" * 100 + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"), "TensorFlow"),
    "html": (_bytes(b"\n<!DOCTYPE html><html>Sign in</html>"), "a web page"),
    "lfs pointer": (_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "Git LFS pointer"),
    "text": (_bytes(b"epoch,loss\n1,0.5\n"), "text"),
    "json": (_bytes(json.dumps({"a": 1}).encode()), "JSON without a weight_map"),
    "broken json": (_bytes(b'{"weight_map": '), "does not parse"),
    "jpeg": (_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 64), "JPEG"),
    "noise": (_bytes(bytes(range(1, 200))), "unknown content"),
    "zeros": (_bytes(b"\0" * 100), "unknown content"),
    "one byte": (_bytes(b"\x80"), "unknown content"),
    "zip magic alone": (_bytes(b"PK\x03\x04"), "cut short"),
    "safetensors header beyond the end": (_bytes(struct.pack("<Q", 10_000) + b'{"a":'), "cut short"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
@pytest.mark.parametrize("extension", [".pth", ".safetensors"])
def test_what_cannot_be_read_is_named(name: str, extension: str, tmp_path: Path) -> None:
    write, message = REFUSED[name]
    path = tmp_path / f"file{extension}"
    write(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_archive(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_a_folder_and_a_missing_file_say_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "good.pth").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"a folder \(good.pth\)"):
        open_archive(tmp_path)
    with pytest.raises(CheckpointError, match=r"nothing there.*good.pth"):
        open_archive(tmp_path / "god.pth")
    with pytest.raises(CheckpointError, match="nothing there"):
        open_archive(tmp_path / "no" / "such" / "folder.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        open_archive(pipe)


def _zip(path: Path) -> None:
    torch.save({"w": torch.randn(100), "v": torch.randn(100)}, path)


def _legacy(path: Path) -> None:
    torch.save({"w": torch.randn(100), "v": torch.randn(100)}, path, _use_new_zipfile_serialization=False)


def _safetensors(path: Path) -> None:
    save_file({"w": torch.randn(100), "v": torch.randn(100)}, path)


def _npz(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, w=np.random.default_rng(0).normal(size=100))


@pytest.mark.parametrize("write", [_zip, _legacy, _safetensors, _npz])
def test_a_file_cut_short_anywhere_is_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    write(path)
    raw = path.read_bytes()
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(raw[: int(len(raw) * share)])
        with pytest.raises(CheckpointError):
            open_archive(path)
    path.write_bytes(raw[:-1])
    with pytest.raises(CheckpointError):
        open_archive(path)


@pytest.mark.parametrize("write", [_zip, _legacy, _safetensors, _npz])
def test_flipped_bytes_never_end_in_anything_but_a_clear_error(write: Callable[[Path], None], tmp_path: Path) -> None:
    """500 corrupted copies: each opens and loads, or is refused; nothing else escapes."""
    path = tmp_path / "whole.pth"
    write(path)
    raw = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        damaged = bytearray(raw)
        for at in random.integers(0, len(raw), 4):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            for _, leaf in walk(open_archive(path).tree):
                if isinstance(leaf, LazyTensor):
                    leaf.load()
        except CheckpointError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("extension", [".pth", ".pt", ".tar", ".pth.tar", ".ckpt", ".bin", ".th", ".safetensors", ""])
def test_the_content_decides_and_not_the_extension(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{extension}"
    for write, kind in ((_zip, "torch-zip"), (_legacy, "torch-legacy"), (_safetensors, "safetensors"), (_npz, "npz")):
        write(path)
        assert recognise(path) == kind
