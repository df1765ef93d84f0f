"""What ran, where: device, hardware, versions, memory."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import sys
import uuid
from datetime import datetime, timezone
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_LIBRARIES = ("torch", "torchvision", "timm", "scikit-learn", "faiss-cpu", "faiss-gpu", "numpy", "pillow")
_DENSE = ("onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation", "pycocotools")
_ROBUST = ("pyautoattack",)


def compiled_mmcv() -> bool | None:
    """Whether the mmcv installed has compiled operators (True), or is a lite one (False); None without any.

    Nothing of it is imported.
    """
    package = importlib.util.find_spec("mmcv")
    if package is None or package.submodule_search_locations is None:
        return None
    return PathFinder.find_spec("mmcv._ext", list(package.submodule_search_locations)) is not None


def new_run_id() -> str:
    """Sortable by time, unique between machines."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ") + "-" + uuid.uuid4().hex[:6]


def now() -> str:
    """UTC, ISO 8601, seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@cache
def libraries() -> dict[str, str]:
    """Installed versions of the libraries that figures could depend on."""
    found = {"python": platform.python_version()}
    for name in (*_LIBRARIES, *_DENSE, *_ROBUST):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def code_version() -> str:
    """The project's version, with the commit when it runs from a checkout."""
    plain = version("transferbench")
    commit = _head_commit(Path(__file__).resolve().parents[2] / ".git")
    return f"{plain}+{commit[:12]}" if commit else plain


def _head_commit(git: Path) -> str | None:
    """The commit that HEAD names, read from the files (no git program is needed)."""
    head = git / "HEAD"
    if not head.is_file():
        return None
    text = head.read_text().strip()
    if not text.startswith("ref: "):
        return text
    reference = text[5:]
    loose = git / reference
    if loose.is_file():
        return loose.read_text().strip()
    packed = git / "packed-refs"
    if packed.is_file():
        for line in packed.read_text().splitlines():
            if line.endswith(" " + reference):
                return line.split()[0]
    return None


@cache
def hardware(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}"
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
