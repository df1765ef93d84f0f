"""How an encoder is executed: device, arithmetic, memory layout. Part of a result, since it touches the numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict

from benchmark.errors import BackboneError, nearest

Precision = Literal["fp32", "tf32", "bf16", "fp16"]


class Execution(BaseModel):
    """The device and how it computes.

    Attributes:
        device: `cpu`, `cuda` or `cuda:N`.
        precision: `fp32` everywhere; `tf32` rounds the factors of products to 10 bits of mantissa and accumulates in
            float32; `bf16` (7 bits) and `fp16` (10 bits, overflow above 65504) are autocast. Outputs are float32.
        channels_last: convolutions in NHWC memory; the same numbers, faster kernels on tensor cores.
        compile: `torch.compile` of the encoder: pays from some ten thousand images on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "cpu"
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False

    @property
    def torch_device(self) -> torch.device:
        """The device as torch's object."""
        return torch.device(self.device)

    @contextlib.contextmanager
    def arithmetic(self, gradients: bool = False) -> Iterator[None]:
        """Sets precision for a forward pass, and inference mode unless it is to have gradients; puts the process's
        settings back.
        """
        with contextlib.nullcontext() if gradients else torch.inference_mode(), self.products(), self.autocast():
            yield

    def autocast(self) -> torch.autocast:
        """Half precision where it is safe, for `bf16` and `fp16`; nothing for the others."""
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        return torch.autocast(self.torch_device.type, dtype=half, enabled=half is not None)

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Sets the precision of float32 products on CUDA, and puts the process's settings back."""
        if self.torch_device.type != "cuda":
            yield
            return
        matmul, conv = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        tf32 = self.precision != "fp32"  # torch's own default lets convolutions, but not products, use TF32
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(matmul)
            torch.backends.cudnn.allow_tf32 = conv


def plan_execution(
    device: str | torch.device = "auto",
    precision: str | None = None,
    channels_last: bool | None = None,
    compile: bool = False,
) -> Execution:
    """Execution on a device with the defaults that keep features faithful.

    On CPU: float32. On CUDA: TF32, whose 10-bit mantissa is that of the float16 in which features are stored, with the
    exponent range of float32, so that it cannot overflow where a float16 autocast does; channels-last convolutions.

    Args:
        device: `auto` takes CUDA where there is one.
        precision: None for the default.
        channels_last: None for the default.
        compile: as in `Execution`.

    Raises:
        BackboneError: a device that is not there, an unknown precision, or a reduced one on a CPU.
    """
    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise BackboneError("a device", repr(name), nearest(name, ("auto", "cpu", "cuda")))
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise BackboneError("a CUDA device", f"{torch.cuda.device_count()} of them for {name!r}", "use --device cpu")
    if precision is not None and precision not in get_args(Precision):
        raise BackboneError("a precision", repr(precision), nearest(precision, get_args(Precision)))
    if kind == "cpu" and precision not in (None, "fp32"):
        raise BackboneError(
            "fp32 on a CPU", f"precision {precision!r}", "leave the precision out, or use --device cuda"
        )
    return Execution.model_validate(
        {
            "device": name,
            "precision": precision or ("tf32" if kind == "cuda" else "fp32"),
            "channels_last": kind == "cuda" if channels_last is None else channels_last,
            "compile": compile,
        }
    )
