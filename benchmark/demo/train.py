"""Makes the demo's backbones: `python -m benchmark.demo.train`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from safetensors.torch import save
from torch import Tensor

from benchmark.demo.loop import Recipe, fit
from benchmark.demo.methods import ARCH, Contrastive, Masked, Method, Supervised
from benchmark.demo.pool import CLASSES, CONDITIONS, Pool, draw_pool
from benchmark.files import write_bytes

Name = Literal["supervised", "contrastive", "masked"]
METHODS: dict[Name, Callable[[int], Method]] = {
    "supervised": Supervised,
    "contrastive": lambda classes: Contrastive(),
    "masked": lambda classes: Masked(),
}
RECIPES: dict[Name, Recipe] = {
    "supervised": Recipe(steps=800),
    "contrastive": Recipe(steps=1200),
    "masked": Recipe(steps=900),
}
IMAGES = 12_000
app = App(name="python -m benchmark.demo.train", help=__doc__)


def make(name: Name, pool: Pool, recipe: Recipe, seed: int, report: Callable[[float], object]) -> tuple[Method, Tensor]:
    """Trains one backbone from fresh weights; the same arguments give the same weights on the same machine.

    Args:
        name: of the method.
        pool: the training images.
        recipe: steps, batch and rates.
        seed: of the weights, the order and the augmentation.
        report: called with the loss of every step.

    Returns:
        The trained method and its (steps,) losses.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = METHODS[name](pool.classes)
        losses = fit(method, pool, recipe, seed, report)
    return method, losses


def write(method: Method, path: Path, metadata: dict[str, str]) -> int:
    """Writes what the training leaves, in half precision; a backbone turns it into float32 again.

    Returns:
        The size in bytes.
    """
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in method.saved().items()
    }
    content = save(tensors, metadata)
    write_bytes(path, content)
    return len(content)


def _show(progress: Progress, bar: TaskID, loss: float) -> None:
    progress.update(bar, advance=1, note=f"loss {loss:.3f}")


@app.default
def main(
    *,
    out: Path = Path(__file__).parent / "weights",
    only: Annotated[tuple[Name, ...], Parameter(consume_multiple=True, negative=())] = (),
    images: Annotated[int, Parameter(validator=Number(gte=len(CONDITIONS) * CLASSES))] = IMAGES,
    steps: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    seed: int = 0,
) -> None:
    """Draws scenes of family `b` and trains the demo's backbones on them, minutes each on two cores.

    Args:
        out: the folder of the .safetensors files.
        only: these methods.
        images: how many scenes to draw.
        steps: updates per method, instead of each recipe's own.
        seed: of the weights and of everything drawn in training.
    """
    cores = min(os.cpu_count() or 1, 2)
    torch.set_num_threads(cores)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("drawing", total=images, note="scenes")
        pool = draw_pool(images, workers=cores, advance=lambda count: progress.advance(bar, count))
        for name in only or tuple(METHODS):
            recipe = RECIPES[name] if steps is None else replace(RECIPES[name], steps=steps)
            report = partial(_show, progress, progress.add_task(name, total=recipe.steps, note=""))
            started = time.perf_counter()
            method, losses = make(name, pool, recipe, seed, report)
            seconds = time.perf_counter() - started
            metadata = {
                "method": name,
                "arch": ARCH,
                "images": str(images),
                "steps": str(recipe.steps),
                "seed": str(seed),
            }
            size = write(method, out / f"{name}.safetensors", metadata)
            first, last = losses[:20].mean(), losses[-20:].mean()
            console.print(f"{name}: loss {first:.3f} to {last:.3f} in {seconds:.0f} s, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    app()
