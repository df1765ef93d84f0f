"""The module that mmcv looks for: a compiled one where there is one, else ours, served by torchvision."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import torch
import torchvision

from benchmark.errors import RequestError
from benchmark.runner.provenance import compiled_mmcv
from tasks.openmmlab import kernels

EXTENSION = "mmcv._ext"
SERVED: tuple[str, ...] = (
    "nms",
    "roi_align_forward",
    "roi_align_backward",
    "deform_conv_forward",
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "modulated_deform_conv_forward",
    "modulated_deform_conv_backward",
    "sigmoid_focal_loss_forward",
    "sigmoid_focal_loss_backward",
    "softmax_focal_loss_forward",
    "softmax_focal_loss_backward",
)
"""mmcv's bindings that `kernels` has."""


@dataclass(frozen=True)
class Operators:
    """Whose operators mmcv uses; part of a result, since they touch the numbers.

    Attributes:
        compiled: mmcv's own, compiled; else torchvision's.
        description: for people and results.
    """

    compiled: bool
    description: str


class Served(ModuleType):
    """Stands where `mmcv._ext` would: an operator that is not served can be imported, and raises when it is called.

    mmcv imports all of its operators at once and asks for each by name, so that a missing one must not be missing yet.
    """

    def __init__(self) -> None:
        super().__init__(EXTENSION, "mmcv's operators, computed by torchvision.")
        self.__spec__ = ModuleSpec(EXTENSION, loader=None, origin="torchvision")
        for name in SERVED:
            setattr(self, name, getattr(kernels, name))
        # mmengine prints these two when it describes the environment.
        self.get_compiler_version = lambda: f"torchvision {torchvision.__version__}"
        self.get_compiling_cuda_version = lambda: str(torch.version.cuda or "not available")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> Any:
            raise RequestError(
                f"an operator that torchvision serves ({', '.join(SERVED)})",
                f"{EXTENSION}.{name}, which a head asked for",
                "choose another head, or compile mmcv: MMCV_WITH_OPS=1 pip install --no-build-isolation "
                "--no-binary onedl-mmcv --force-reinstall --no-deps onedl-mmcv (10 to 30 minutes)",
            )

        return missing


def provide() -> Operators:
    """Sees to it that mmcv finds its operators; has to be called before anything of mmcv, mmdet or mmseg is imported.

    Calling it again changes nothing.

    Raises:
        RequestError: mmcv is not installed, was imported before and gave up on its operators, or is compiled for
            another torch.
    """
    present = sys.modules.get(EXTENSION)
    if present is None:
        present = _load()
    if isinstance(present, Served):
        return Operators(False, f"torchvision {torchvision.__version__}")
    return Operators(True, f"compiled mmcv {_version()}")


def _load() -> ModuleType:
    compiled = compiled_mmcv()
    if compiled is None:
        raise RequestError(
            "mmcv, mmdet and mmseg for trained dense heads", "no mmcv", "pip install 'transferbench[dense]'"
        )
    if compiled:
        try:
            return importlib.import_module(EXTENSION)
        except ImportError as error:
            raise RequestError(
                f"a compiled mmcv that fits torch {torch.__version__}",
                f"{type(error).__name__}: {str(error)[:200]}",
                "compile it again, or install the lite wheel: pip install --force-reinstall --no-deps onedl-mmcv",
            ) from error
    _refuse_late()
    served = Served()
    sys.modules[EXTENSION] = served
    return served


def _refuse_late() -> None:
    """mmcv.cnn and mmdet read which operators there are once, when they are imported.

    Raises:
        RequestError: one of them already did.
    """
    late = [name for name in ("mmcv.cnn", "mmdet.models", "mmseg.models") if name in sys.modules]
    if late:
        raise RequestError(
            "to come before mmcv",
            f"{', '.join(late)} imported without operators",
            "call tasks.openmmlab.ops.provide first",
        )


def _version() -> str:
    try:
        return version("onedl-mmcv")
    except PackageNotFoundError:
        return version("mmcv")
