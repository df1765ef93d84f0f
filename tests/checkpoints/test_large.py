"""Opening and identifying a large file: about its own size in memory, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

_PROGRAM = """
import resource, sys
from pathlib import Path
import torch
import benchmark.backbones.inspection as inspection
from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.encoder import find_encoder
from benchmark.checkpoints.inference.infer import infer

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

inspection.inspect_checkpoint(sys.argv[2])  # libraries start up, images are allocated
before = peak()
archive = open_archive(Path(sys.argv[1]))
print(infer(archive, find_encoder(archive)).arch)
print(peak() - before)
inspection.inspect_checkpoint(sys.argv[1])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_a_large_file_takes_about_its_own_size(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {key: t.shape for key, t in timm.create_model("vit_base_patch16_224").state_dict().items()}
    state = {f"module.{key}": torch.full(shape, 0.01) for key, shape in shapes.items()}
    large, tiny = tmp_path / "large.pth", tmp_path / "tiny.pth"
    torch.save({"state_dict": state, "epoch": 1}, large)
    torch.save(timm.create_model("resnet18").state_dict(), tiny)
    out = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(large), str(tiny)], check=True, capture_output=True, text=True, timeout=300
    ).stdout.split()
    assert out[0] == "vit_base_patch16_224"
    size = large.stat().st_size
    assert int(out[1]) < 1.2 * size  # opened and identified
    assert int(out[2]) < 1.6 * size  # loaded into a network and tried on an image, too
