from importlib.metadata import PackageNotFoundError, version
from io import StringIO

import pytest
from rich.console import Console

from benchmark.runner import doctor
from benchmark.runner.provenance import compiled_mmcv


@pytest.mark.skipif(compiled_mmcv() is not False, reason="the dense extra is not installed, or mmcv is compiled")
def test_the_doctor_says_whose_operators_dense_heads_use_and_which_extra_brings_what(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(name: str) -> str:
        if name == "onedl-mmdetection":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", gone)
    console = Console(width=200, record=True, file=StringIO())
    console.print(doctor.render())
    said = console.export_text()
    assert "no detection heads (Faster and Mask R-CNN, RetinaNet, ViTDet); pip install 'transferbench[dense]'" in said
    assert f"mmcv is the lite one, torchvision {version('torchvision')} serves them" in said
