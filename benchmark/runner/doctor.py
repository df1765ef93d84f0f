"""What is installed, what is missing, and what each missing part costs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.backbones.execution import plan_execution
from benchmark.runner.provenance import code_version, compiled_mmcv, hardware
from benchmark.runner.request import default_cache


@dataclass(frozen=True)
class _Part:
    """A distribution, the extra that brings it (none: the base install), and what is lost without it."""

    distribution: str
    extra: str
    without: str


_PARTS = (
    _Part("torch", "", "nothing works"),
    _Part("torchvision", "", "nothing works"),
    _Part("timm", "", "no timm architectures"),
    _Part("scikit-learn", "", "no stratified splits"),
    _Part("pandas", "", "no tables"),
    _Part("pyarrow", "", "no predictions, no parquet sources"),
    _Part("pycocotools", "", "no masks of objects, no COCO metrics"),
    _Part("faiss-cpu", "", "no exact k-NN on the CPU"),
    _Part("faiss-gpu", "gpu", "k-NN on a GPU runs in torch (equally exact)"),
    _Part("datasets", "hub", "no hf: sources"),
    _Part("onedl-mmcv", "dense", "no trained dense heads"),
    _Part("onedl-mmdetection", "dense", "no detection heads (Faster and Mask R-CNN, RetinaNet, ViTDet)"),
    _Part("onedl-mmsegmentation", "dense", "no trained segmentation heads (UPerNet, FCN)"),
    _Part("pyautoattack", "robust", "no AutoAttack (the headline of robust/adversarial)"),
    _Part("ray", "ray", "no cluster engine"),
)


def render() -> RenderableType:
    """The report."""
    table = Table(title=f"transferbench {code_version()}", title_justify="left")
    for head in ("part", "version", "without it"):
        table.add_column(head)
    for part in _PARTS:
        try:
            found, style = version(part.distribution), ""
        except PackageNotFoundError:
            found, style = "missing", "yellow" if part.extra else "red"
        cost = "" if found != "missing" else part.without + _remedy(part)
        table.add_row(part.distribution, Text(found, style=style), Text(cost))  # [extra] would be read as markup
    return Group(table, *(Text(line) for line in _machine()))


def _remedy(part: _Part) -> str:
    what = f"'transferbench[{part.extra}]'" if part.extra else part.distribution
    return f"; pip install {what}"


def _machine() -> list[str]:
    device = plan_execution("auto").torch_device
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    lines = [
        f"device: {device} ({hardware(device)})"
        + ("" if gpus else "; no GPU usable by torch: expect minutes, not seconds")
    ]
    if (compiled := compiled_mmcv()) is not None:
        operators = (
            "compiled with mmcv"
            if compiled
            else f"mmcv is the lite one, torchvision {version('torchvision')} serves them (nothing to compile)"
        )
        lines.append(f"operators of dense heads: {operators}")
    cache = default_cache()
    present = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(present).free / 2**30
    writable = "" if os.access(present, os.W_OK) else ", NOT writable: pass --cache"
    lines.append(f"feature cache: {cache} ({free:.0f} GiB free{writable})")
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).free / 2**20
        small = ": too little for decoding processes; pass --workers 0 or enlarge it" if size < 256 else ""
        lines.append(f"shared memory: {size:,.0f} MiB free{small}")
    return lines
