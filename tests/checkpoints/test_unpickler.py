"""A checkpoint cannot run code, whatever its pickle says."""

from __future__ import annotations

import argparse
import builtins
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.placeholder import Placeholder
from benchmark.errors import CheckpointError
from tests.checkpoints.forging import Call, legacy_of, program, stored, tensor, text, zip_of

HEAD = b"\x80\x02"


def attacks(sentinel: Path) -> dict[str, bytes]:
    """Programs which Python's own unpickler would run, by the opcode that fires."""
    touch = f"touch {sentinel}"
    python = f"open({str(sentinel)!r}, 'w').close()"
    system = b"cposix\nsystem\n"
    return {
        "REDUCE os.system": program({"x": Call(os.system, touch)}),
        "REDUCE builtins.exec": program({"x": Call(builtins.exec, python)}),
        "REDUCE builtins.eval": program({"x": Call(builtins.eval, f"open({str(sentinel)!r}, 'w')")}),
        "REDUCE subprocess": program({"x": Call(subprocess.check_call, ["touch", str(sentinel)])}),
        "REDUCE getattr": program({"x": Call(builtins.getattr, Call(builtins.__import__, "os"), "system")}),
        "REDUCE after protocol 4": program({"x": Call(os.system, touch)}, protocol=4),
        "INST": HEAD + b"}" + text("x") + b"(" + text(touch) + b"iposix\nsystem\n" + b"s.",
        "OBJ": HEAD + b"}" + text("x") + b"(" + system + text(touch) + b"os.",
        "NEWOBJ": HEAD + b"}" + text("x") + b"csubprocess\nPopen\n(" + text(f"{touch}") + b"t\x81s.",
        "NEWOBJ_EX": b"\x80\x04}" + text("x") + b"csubprocess\nPopen\n)}" + text("args") + text(touch) + b"s\x92s.",
        "BUILD with __setstate__": HEAD
        + (
            b"}"
            + text("x")
            + b"cbuiltins\nobject\n)\x81}"
            + text("__setstate__")
            + system
            + b"sb"
            + text(touch)
            + b"bs."
        ),
        "BUILD of slots": HEAD + b"}" + text("x") + b"ctypes\nSimpleNamespace\n)R(N}" + text("y") + system + b"stbs.",
        "STACK_GLOBAL dotted": b"\x80\x04}"
        + (text("x") + text("torch") + text("serialization.os.system") + b"\x93" + text(touch) + b"\x85Rs."),
        "STACK_GLOBAL of a known module": b"\x80\x04}"
        + (text("x") + text("torch._utils") + text("os.system") + b"\x93" + text(touch) + b"\x85Rs."),
        "a call dropped from the stack": HEAD + system + text(touch) + b"\x85R0}.",
        "numpy reconstruct of a foreign class": HEAD
        + (b"}" + text("x") + b"cnumpy.core.multiarray\n_reconstruct\n(cposix\nsystem\n" + text(touch) + b"tRs."),
        "a tensor type as a function": HEAD
        + (
            b"}"
            + text("x")
            + b"ctorch._tensor\n_rebuild_from_type_v2\n("
            + system
            + system
            + text(touch)
            + b"\x85NtRs."
        ),
        "defaultdict factory": HEAD + b"}" + text("x") + b"ccollections\ndefaultdict\n" + system + b"\x85Rs.",
        "torch hub": HEAD + b"}" + text("x") + b"ctorch.hub\nload\n(" + text("a/b") + text("c") + b"tRs.",
        "extension registry": HEAD + b"}" + text("x") + b"\x82\x01)Rs.",
    }


NAMES = sorted(attacks(Path("x")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("write", [zip_of, legacy_of, "bare"])
def test_a_file_made_to_run_code_does_not_run_it_and_is_listed(name: str, write: Any, tmp_path: Path) -> None:
    sentinel = tmp_path / "executed"
    code = attacks(sentinel)[name]
    path = tmp_path / "crafted.pth"
    if write == "bare":
        path.write_bytes(code)
    else:
        write(path, code)
    archive = open_archive(path)
    assert not sentinel.exists()
    assert archive.placeholders, "no foreign global was listed"


@pytest.mark.parametrize("name", ["REDUCE os.system", "REDUCE builtins.exec", "INST", "OBJ"])
def test_the_attacks_are_real(name: str, tmp_path: Path) -> None:
    """Python's own unpickler, in a process of its own, does what these files say."""
    sentinel, code = tmp_path / "executed", tmp_path / "code.pkl"
    code.write_bytes(attacks(sentinel)[name])
    script = "import pickle, sys; pickle.loads(open(sys.argv[1], 'rb').read())"
    subprocess.run([sys.executable, "-c", script, str(code)], capture_output=True, check=False)
    assert sentinel.exists()


def test_placeholders_record_what_the_file_wanted(tmp_path: Path) -> None:
    archive = open_archive(zip_of(tmp_path / "f.pth", program({"x": Call(os.system, "true", state={"a": 1})})))
    made = archive.tree["x"]
    assert isinstance(made, Placeholder)
    assert (made.qualname, made.called, made.args, made.state) == ("posix.system", True, ("true",), {"a": 1})
    with pytest.raises(TypeError):
        made_callable: Any = made
        made_callable()
    (note,) = archive.placeholders
    assert (note.name, note.count, note.where) == ("posix.system", 1, "x")


def test_settings_of_training_scripts_become_placeholders(tmp_path: Path) -> None:
    path = tmp_path / "train.pth"
    best = np.float64(71.5)
    torch.save({"state_dict": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=0.1), "best": best}, path)
    archive = open_archive(path)
    assert archive.tree["args"].attributes == {"lr": 0.1}
    notes = {note.name: note.where for note in archive.placeholders}
    assert notes["argparse.Namespace"] == "args"
    assert any(name.endswith("multiarray.scalar") and where == "best" for name, where in notes.items())
    assert torch.equal(archive.tree["state_dict"]["w"].load(), torch.ones(2))


DAMAGED: dict[str, bytes] = {
    "no end": HEAD + b"}",
    "nothing on the stack": HEAD + b".",
    "a mark at the end": HEAD + b"(.",
    "unknown opcode": HEAD + b"\xff.",
    "unknown memo": HEAD + b"h\x07.",
    "call of a number": HEAD + b"K\x01)R.",
    "call of a dictionary": HEAD + b"})R.",
    "call without a tuple": HEAD + b"ccollections\nOrderedDict\nK\x01R.",
    "state for a list": HEAD + b"]}b.",
    "state for a known global": HEAD + b"ccollections\nOrderedDict\n}b.",
    "items on a list": HEAD + b"]K\x01K\x02s.",
    "append to a dictionary": HEAD + b"}K\x01a.",
    "list as key": HEAD + b"}]K\x01s.",
    "key without a value": HEAD + b"}(K\x01u.",
    "persistent id without storages": HEAD + b"K\x05Q.",
    "text persistent id": HEAD + b"P12\n.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "protocol 9": b"\x80\x09}.",
    "a string that ends later": HEAD + b"X\xff\xff\xff\x7fabc.",
    "bytes of 2**62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
    "bytearray of 2**62": b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"abc.",
    "negative length": HEAD + b"T\xff\xff\xff\xffabc.",
    "unbalanced tuple": HEAD + b"K\x01\x87.",
    "a number of many digits": HEAD + b"L" + b"9" * 10_000 + b"L\n.",
}


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_a_malformed_pickle_is_one_clear_error(name: str, tmp_path: Path) -> None:
    for write in (zip_of, legacy_of):
        with pytest.raises(CheckpointError) as caught:
            open_archive(write(tmp_path / "f.pth", DAMAGED[name]))
        assert "\n" not in str(caught.value)
        assert "f.pth" in str(caught.value)


def test_a_memo_index_of_four_billion_costs_nothing(tmp_path: Path) -> None:
    """Python's unpickler sets aside an array as long as the largest memo index."""
    code = HEAD + b"}r\xff\xff\xff\xff" + text("w") + b"K\x01s."
    assert open_archive(zip_of(tmp_path / "f.pth", code)).tree == {"w": 1}


def test_deep_and_doubling_trees_are_read_in_time_linear_in_the_file(tmp_path: Path) -> None:
    depth = 60_000
    deep = HEAD + b"}" + text("x") + b")" + b"\x85" * depth + b"s."
    pair: list[Any] = []
    for _ in range(200):
        pair = [pair, pair]
    doubling = program({"x": pair})
    for code in (deep, doubling):  # a reader that takes 2^200 steps never comes back
        open_archive(zip_of(tmp_path / "f.pth", code))


def test_a_deep_tuple_as_key_is_refused_before_it_is_hashed(tmp_path: Path) -> None:
    code = HEAD + b"})" + b"\x85" * 60_000 + b"K\x01s."
    with pytest.raises(CheckpointError, match="dictionary key"):
        open_archive(zip_of(tmp_path / "f.pth", code))


def test_a_list_that_contains_itself_is_read(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    tree = open_archive(zip_of(tmp_path / "f.pth", program({"x": loop}))).tree
    assert tree["x"][0] is tree["x"]


CLAIMS: dict[str, Callable[[], Any]] = {
    "size beyond the storage": lambda: tensor(stored(), size=(5,)),
    "offset beyond the storage": lambda: tensor(stored(), offset=1),
    "stride beyond the storage": lambda: tensor(stored(), size=(2,), stride=(4,)),
    "negative offset": lambda: tensor(stored(), offset=-1, size=(1,)),
    "negative size": lambda: tensor(stored(), size=(-1,)),
    "negative stride": lambda: tensor(stored(), size=(2,), stride=(-1,)),
    "more strides than sizes": lambda: tensor(stored(), stride=(1, 1)),
    "a size that wraps around": lambda: tensor(stored(), size=(1 << 62, 1 << 62, 0), stride=(1, 1, 1)),
    "a terabyte by stride 0": lambda: tensor(stored(), size=(1 << 38,), stride=(0,)),
    "100 dimensions": lambda: tensor(stored(), size=(1,) * 100, stride=(1,) * 100),
    "a float as size": lambda: tensor(stored(), size=(4.0,)),
    "a bool as offset": lambda: tensor(stored(), offset=True, size=(1,)),
    "text as size": lambda: tensor(stored(), size="4"),
    "no storage": lambda: tensor(None),
    "a dictionary for a storage": lambda: tensor({}),
    "storage larger than its bytes": lambda: tensor(stored(numel=5)),
    "storage of a petabyte": lambda: tensor(stored(numel=1 << 50)),
    "negative storage": lambda: tensor(stored(numel=-4)),
    "storage that is missing": lambda: tensor(stored(key="7")),
    "storage outside of the archive": lambda: tensor(stored(key="../../../etc/passwd")),
    "storage key that is a number": lambda: tensor(stored(key=0)),
    "storage type that is a function": lambda: tensor(stored(kind=print)),
    "storage type that is no storage": lambda: tensor(stored(kind=torch.float32)),
}


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_tensor_that_claims_what_it_has_not_is_refused(name: str, tmp_path: Path) -> None:
    code = program({"weight": CLAIMS[name]()})
    with pytest.raises(CheckpointError):
        open_archive(zip_of(tmp_path / "f.pth", code, {"0": b"\0" * 16}))


def test_the_honest_form_of_the_claims_is_read(tmp_path: Path) -> None:
    raw = np.arange(4, dtype=np.float32).tobytes()
    path = zip_of(tmp_path / "f.pth", program({"weight": tensor(stored(), size=(2, 2), stride=(1, 2))}), {"0": raw})
    assert torch.equal(open_archive(path).tree["weight"].load(), torch.tensor([[0.0, 2.0], [1.0, 3.0]]))


def test_modest_repetition_by_stride_zero_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.pth"
    torch.save({"w": torch.ones(1).expand(1000)}, path)
    assert torch.equal(open_archive(path).tree["w"].load(), torch.ones(1000))


def test_numpy_arrays_are_read_as_tensors_and_object_arrays_are_not(tmp_path: Path) -> None:
    arrays = {
        "f": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">f8"),
        "scalar": np.array(3, dtype=np.int16),
        "empty": np.zeros((0, 3), np.float16),
    }
    path = tmp_path / "f.pkl"
    for protocol in (2, 3, 4, 5):
        path.write_bytes(
            pickle.dumps({**arrays, "objects": np.array([{}, None]), "text": np.array(["a"])}, protocol=protocol)
        )
        tree = open_archive(path).tree
        for name, array in arrays.items():
            assert np.array_equal(tree[name].load().numpy(), array), (name, protocol)
        assert isinstance(tree["objects"], Placeholder)
        assert isinstance(tree["text"], Placeholder)


def test_the_same_numpy_array_twice_is_the_same_tensor(tmp_path: Path) -> None:
    array = np.arange(3.0)
    path = tmp_path / "f.pkl"
    path.write_bytes(pickle.dumps({"a": array, "b": array}, protocol=2))
    tree = open_archive(path).tree
    assert tree["a"] is tree["b"]
    assert torch.equal(tree["b"].load(), torch.arange(3, dtype=torch.float64))
