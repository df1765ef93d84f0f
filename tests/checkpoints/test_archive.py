"""Every supported format gives the tensors that its own library gives."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.encoder import find_encoder
from benchmark.checkpoints.storage import LazyTensor
from benchmark.errors import CheckpointError
from tests.checkpoints.forging import Call, assert_same, loaded, program, stored, tensor, zip_of

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16),
]


def every_dtype() -> dict[str, Any]:
    values = torch.tensor([0.0, 1.0, 1.5, 3.0, 0.0, 100.0])
    return {str(dtype): values.to(dtype).reshape(2, 3) for dtype in DTYPES}


def odd_tensors() -> dict[str, Any]:
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    parameter = nn.Parameter(torch.randn(3, generator=torch.Generator().manual_seed(0)))
    parameter.grad = torch.ones(3)
    return {
        "transposed": base.permute(2, 0, 1),
        "view": base[1:, ::2, 1],
        "channels_last": torch.arange(96.0).reshape(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 7),
        "nothing": torch.empty(0),
        "parameter": parameter,
        "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


def containers() -> dict[str, Any]:
    return {
        "state_dict": OrderedDict(a=torch.ones(2)),
        "epoch": 3,
        "lr": 0.1,
        "name": "résumé",
        "none": None,
        "flags": [True, False, (1, 2, 3, 4)],
        "big": 1 << 80,
        "raw": b"\x00\xff",
        "set": {1, 2},
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        5: "a number as key",
    }


@pytest.mark.parametrize("make", [every_dtype, odd_tensors, containers])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_equal_torch_load(make: Any, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "f.any"
    torch.save(make(), path, _use_new_zipfile_serialization=zipped)
    archive = open_archive(path)
    assert archive.format == ("torch-zip" if zipped else "torch-legacy")
    assert_same(loaded(archive.tree), plain(make()))
    if zipped or make is not every_dtype:  # torch itself cannot read its newer types back from a legacy file
        assert_same(loaded(archive.tree), plain(torch.load(path, weights_only=True)))
    assert archive.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert archive.size == path.stat().st_size


def plain(value: Any) -> Any:
    """The value with plain dictionaries, which are all that an opened file holds."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_read(protocol: int, tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / "f.pth"
        torch.save(every_dtype(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        assert_same(loaded(open_archive(path).tree), every_dtype())


@pytest.mark.parametrize("zipped", [True, False])
def test_shared_storages_stay_shared(zipped: bool, tmp_path: Path) -> None:
    base = torch.arange(10.0)
    path = tmp_path / "f.pth"
    torch.save({"a": base, "b": base[2:5], "tied": base}, path, _use_new_zipfile_serialization=zipped)
    tree = loaded(open_archive(path).tree)
    assert tree["a"].data_ptr() == tree["tied"].data_ptr()
    assert tree["b"].data_ptr() == tree["a"].data_ptr() + 8
    assert torch.equal(tree["b"], base[2:5])


def test_opening_reads_no_tensor_and_reading_does_not_write_the_file(tmp_path: Path) -> None:
    path = tmp_path / "f.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    before = path.read_bytes()
    leaf = open_archive(path).tree["a"]
    assert isinstance(leaf, LazyTensor)
    assert (leaf.shape, leaf.dtype) == ((1000,), torch.float32)
    leaf.load().fill_(7.0)
    assert path.read_bytes() == before


def test_a_file_of_the_other_byte_order_gives_the_same_numbers(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3e8, 0.0], np.float32)
    path = zip_of(tmp_path / "f.pth", program({"w": tensor(stored())}), {"0": values.byteswap().tobytes()})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big" if sys.byteorder == "little" else "little")
    assert torch.equal(open_archive(path).tree["w"].load(), torch.from_numpy(values))


def test_damaged_weights_in_a_zip_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f.pth"
    torch.save({"w": torch.ones(1000)}, path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(np.ones(8, np.float32).tobytes(), np.full(8, 2, np.float32).tobytes(), 1))
    with pytest.raises(CheckpointError, match="checksum"):
        open_archive(path).tree["w"].load()


def test_files_that_torch_wrote_without_checksums_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f.pth"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(10.0)}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(open_archive(path).tree["w"].load(), torch.arange(10.0))


def test_compressed_zip_entries_are_read(tmp_path: Path) -> None:
    raw = np.arange(4, dtype=np.float32).tobytes()
    path = zip_of(tmp_path / "f.pth", program({"w": tensor(stored())}), {"0": raw}, zipfile.ZIP_DEFLATED)
    assert torch.equal(open_archive(path).tree["w"].load(), torch.arange(4.0))


def test_python_2_state_dicts_are_read(tmp_path: Path) -> None:
    """Byte strings as keys, and an OrderedDict pickled as a list of pairs."""
    code = b"\x80\x02ccollections\nOrderedDict\n](](U\x01wK\x01e](U\x01vK\x02ee\x85R."
    assert open_archive(zip_of(tmp_path / "f.pth", code)).tree == {"w": 1, "v": 2}


def test_whole_pickled_models_give_their_state_dict_without_their_class(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 2, bias=False)))
    model.register_buffer("not_saved", torch.ones(1), persistent=False)
    for zipped in (True, False):
        path = tmp_path / "model.pt"
        torch.save({"model": model, "epoch": 1}, path, _use_new_zipfile_serialization=zipped)
        archive = open_archive(path)
        assert_same(loaded(archive.tree["model"]), dict(model.state_dict()))
        assert "torch.nn.modules.conv.Conv2d" in {note.name for note in archive.placeholders}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["quantised", "sparse"])
def test_tensors_of_unsupported_kinds_are_placeholders(kind: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "f.pth"
    made = (
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
        if kind == "quantised"
        else torch.eye(3).to_sparse()
    )
    torch.save({"w": made, "v": torch.ones(1)}, path, _use_new_zipfile_serialization=zipped)
    archive = open_archive(path)
    assert archive.tree["w"].qualname.startswith("torch._utils._rebuild_")
    assert torch.equal(archive.tree["v"].load(), torch.ones(1))
    with pytest.raises(CheckpointError, match="quantised, sparse"):
        find_encoder(archive)


def test_dictionaries_with_factories_are_plain_dictionaries(tmp_path: Path) -> None:
    path = tmp_path / "f.pth"
    torch.save({"a": defaultdict(int, {"x": 1}), "b": Counter("aab")}, path)
    assert open_archive(path).tree == {"a": {"x": 1}, "b": {"a": 2, "b": 1}}


def test_safetensors_equal_their_library(tmp_path: Path) -> None:
    tensors = {key: value for key, value in every_dtype().items() if "complex128" not in key}
    path = tmp_path / "model.ckpt"
    save_file(tensors, path, metadata={"format": "pt", "arch": "vit"})
    archive = open_archive(path)
    assert archive.format == "safetensors"
    assert archive.metadata == {"format": "pt", "arch": "vit"}
    assert_same(
        {key: archive.tree[key].load() for key in sorted(tensors)}, {key: tensors[key] for key in sorted(tensors)}
    )


def test_npz_equals_numpy_and_no_object_array_is_unpickled(tmp_path: Path) -> None:
    arrays = {
        "params/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">i4"),
        "half": np.ones(3, np.float16),
        "scalar": np.array(4),
    }
    sentinel = tmp_path / "executed"
    evil = np.empty(1, object)
    evil[0] = Call(__import__("os").system, f"touch {sentinel}")
    for save in (np.savez, np.savez_compressed):
        path = tmp_path / "f.pth"
        with path.open("wb") as stream:
            save(stream, evil=evil, text=np.array(["a"]), **arrays)
        tree = open_archive(path).tree
        for name, array in arrays.items():
            assert np.array_equal(tree[name].load().numpy(), array), name
        assert tree["evil"].qualname.startswith("numpy.ndarray")
        assert tree["text"].qualname.startswith("numpy.ndarray")
    assert not sentinel.exists()


def test_npz_bfloat16_of_jax_is_read(tmp_path: Path) -> None:
    expected = torch.tensor([1.0, -2.0, 0.5], dtype=torch.bfloat16)
    path = tmp_path / "f.npz"
    np.savez(path, w=expected.view(torch.int16).numpy().view("V2"))
    assert torch.equal(open_archive(path).tree["w"].load(), expected)


def test_npz_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    path = tmp_path / "f.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", stream.getvalue() + b"\0" * 16)
    with pytest.raises(CheckpointError, match="claims"):
        open_archive(path)


def shards(folder: Path, suffix: str) -> tuple[Path, dict[str, torch.Tensor]]:
    tensors = {f"layer{i}.weight": torch.full((2,), float(i)) for i in range(4)}
    names = [f"model-0000{i}-of-00002{suffix}" for i in (1, 2)]
    parts = [dict(list(tensors.items())[:2]), dict(list(tensors.items())[2:])]
    for name, part in zip(names, parts, strict=True):
        if suffix == ".safetensors":
            save_file(part, folder / name)
        else:
            torch.save(part, folder / name)
    index = folder / f"model{suffix}.index.json"
    located = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    index.write_text(json.dumps({"metadata": {"total_size": 32}, "weight_map": located}))
    return index, tensors


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_are_joined_by_their_index(suffix: str, tmp_path: Path) -> None:
    index, tensors = shards(tmp_path, suffix)
    archive = open_archive(index)
    assert archive.format == "sharded"
    assert_same(loaded(archive.tree), tensors)
    assert archive.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    moved = tmp_path / "copy"
    moved.mkdir()
    for path in tmp_path.glob("model*"):
        (moved / path.name).write_bytes(path.read_bytes())
    assert open_archive(moved / index.name).sha256 == archive.sha256
    part = sorted(moved.glob(f"*{suffix}"))[0]
    raw = part.read_bytes()
    part.write_bytes(raw.replace(np.float32(1).tobytes(), np.float32(9).tobytes(), 1))
    assert open_archive(moved / index.name).sha256 != archive.sha256


def test_a_shard_alone_or_missing_or_misplaced_is_refused(tmp_path: Path) -> None:
    index, _ = shards(tmp_path, ".safetensors")
    first, second = sorted(tmp_path.glob("*.safetensors"))
    with pytest.raises(CheckpointError, match="one shard of several"):
        open_archive(first)
    content = json.loads(index.read_text())
    index.write_text(json.dumps({"weight_map": {**content["weight_map"], "extra": first.name}}))
    with pytest.raises(CheckpointError, match="extra is not in"):
        open_archive(index)
    index.write_text(json.dumps({"weight_map": dict(list(content["weight_map"].items())[1:])}))
    with pytest.raises(CheckpointError, match="does not list"):
        open_archive(index)
    index.write_text(json.dumps({"weight_map": {"w": "../../secret.bin"}}))
    with pytest.raises(CheckpointError, match="not a plain file name"):
        open_archive(index)
    index.write_text(json.dumps(content))
    second.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        open_archive(index)


@pytest.mark.data
def test_real_checkpoints_equal_torch_load(data_dir: Path) -> None:
    for path in sorted((data_dir / "checkpoints").iterdir()):
        archive = open_archive(path)
        assert_same(loaded(archive.tree), plain(torch.load(path, weights_only=True, map_location="cpu")))
        assert not archive.placeholders
