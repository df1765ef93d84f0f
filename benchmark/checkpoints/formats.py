"""What a file is, by its first bytes and its insides; the extension is never asked.

`.pth`, `.tar`, `.ckpt`, `.bin` and `.th` say nothing: each is used for zip archives, bare pickles, tar balls and
safetensors alike.
"""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Literal

from benchmark.errors import CheckpointError

Format = Literal["torch-zip", "torchscript", "torch-legacy", "pickle", "safetensors", "sharded", "npz"]

# The first object of every file that torch.save wrote before 1.6 (torch/serialization.py, MAGIC_NUMBER).
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
READABLE = "torch (.pth .pt .tar .ckpt .bin), safetensors, a *.index.json of shards, or .npz"

_UNPACK = "unpack it and give the checkpoint inside"
_CONVERT = "convert its weights to safetensors or a torch state dict"
# (offset, bytes, what it is, what to do)
_REFUSED: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x1f\x8b", "a gzip file", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstandard file", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-zip file", _UNPACK),
    (0, b"Rar!", "a rar file", _UNPACK),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)", _CONVERT),
    (0, b"\x93NUMPY", "a single numpy array (.npy)", "save named arrays with numpy.savez"),
    (0, b"GGUF", "a GGUF file", _CONVERT),
    (0, b"\x89PNG", "a PNG image", "give the file of weights"),
    (0, b"\xff\xd8\xff", "a JPEG image", "give the file of weights"),
    (0, b"%PDF", "a PDF document", "give the file of weights"),
    (4, b"TFL3", "a TensorFlow Lite model", _CONVERT),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`"),
)
_TENSORFLOW_TABLE = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # the footer of a TensorFlow checkpoint's .index file


def refuse(path: Path, what: str, todo: str) -> CheckpointError:
    """The error for something that is no checkpoint the harness reads."""
    return CheckpointError(f"a checkpoint: {READABLE}", f"{path}: {what}", todo)


def recognise(path: Path) -> Format:
    """The format of the file at `path`.

    Raises:
        CheckpointError: it is missing, a folder, empty, cut short, or of a kind that is named and not read.
    """
    _check_exists(path)
    with path.open("rb") as file:
        head = file.read(1024)
        file.seek(max(path.stat().st_size - 8, 0))
        tail = file.read(8)
    for offset, magic, what, todo in _REFUSED:
        if head[offset : offset + len(magic)] == magic:
            raise refuse(path, what, todo)
    if head[257:262] == b"ustar":
        raise refuse(path, _tar_kind(path), _UNPACK)
    if tail == _TENSORFLOW_TABLE:
        raise refuse(path, "the index of a TensorFlow checkpoint", _CONVERT)
    if head[:2] == b"PK":
        return _zip_kind(path)
    if _is_safetensors(path, head):
        return "safetensors"
    if head[:1] == b"\x80" and len(head) > 1 and 2 <= head[1] <= 5:
        return "torch-legacy" if LEGACY_MAGIC.to_bytes(10, "little") in head[:32] else "pickle"
    return _text_kind(path, head)


def _check_exists(path: Path) -> None:
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.is_file())
        index = [name for name in inside if name.endswith(".index.json")]
        listed = ", ".join((index or inside)[:5]) or "no files"
        raise refuse(path, f"a folder ({listed})", "give one file of it")
    if not path.exists():
        beside = sorted(p.name for p in path.parent.iterdir())[:5] if path.parent.is_dir() else []
        raise refuse(path, "nothing there", f"check the path; beside it: {', '.join(beside) or 'nothing'}")
    if not path.is_file():
        raise refuse(path, "neither a file nor a folder", "give a regular file")
    if path.stat().st_size == 0:
        raise refuse(path, "an empty file", "download or copy it again")


def _zip_kind(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise refuse(path, f"a zip archive cut short or damaged ({error})", "download or copy it again") from error
    leaves = {name.partition("/")[2] for name in names}
    if "data.pkl" in leaves:  # a TorchScript program has its code beside it, which nobody reads
        return "torchscript" if any(leaf.startswith("code/") for leaf in leaves) else "torch-zip"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    listed = ", ".join(names[:4]) or "nothing"
    todo = _CONVERT if {"config.json", "metadata.json"} & set(names) else _UNPACK
    raise refuse(path, f"a zip archive without torch's data.pkl (it holds {listed})", todo)


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Eight bytes of header length, then JSON; a header that runs past the end is a file cut short."""
    if len(head) < 9 or head[8:9] != b"{" or head[:1] == b"{":
        return False
    (length,) = struct.unpack("<Q", head[:8])
    if length + 8 > path.stat().st_size:
        raise refuse(path, f"a safetensors file cut short (its header has {length} bytes)", "download or copy it again")
    return True


def _tar_kind(path: Path) -> str:
    with path.open("rb") as file:
        first = file.read(100).rstrip(b"\0").decode("utf-8", "replace")
    if first.rstrip("/") in ("sys_info", "pickle", "storages", "tensors"):
        return "a torch file of before 2017 (a tar of storages)"
    return f"a tar archive (it begins with {first!r})"


def _text_kind(path: Path, head: bytes) -> Format:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"{":
        try:
            content = json.loads(path.read_text("utf-8")) if path.stat().st_size < 1 << 28 else None
        except (ValueError, RecursionError) as error:
            raise refuse(path, f"JSON that does not parse ({error})", "give the file of weights") from error
        if isinstance(content, dict) and isinstance(content.get("weight_map"), dict):
            return "sharded"
        raise refuse(path, "JSON without a weight_map", "give the weights or their *.index.json")
    if start[:1] == b"<":
        raise refuse(path, "a web page", "the download gave a page instead of the file: fetch it again")
    if _is_text(head):
        raise refuse(path, f"text ({head[:40].decode('utf-8', 'replace')!r})", "give the file of weights")
    raise refuse(
        path, f"unknown content (first bytes {head[:8].hex(' ')})", "convert it to safetensors or a torch state dict"
    )


def _is_text(head: bytes) -> bool:
    decoded = head.decode("utf-8", "replace").rstrip("\ufffd")  # a character may be cut at the end of the sample
    return bool(decoded) and all(c.isprintable() or c in "\t\r\n" for c in decoded) and "\ufffd" not in decoded
