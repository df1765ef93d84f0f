"""AutoAttack by its authors' own code (`pyautoattack`, the `robust` extra), kept from the rest of the process."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmark.errors import NotApplicable, RequestError

TARGETS = 9
"""Classes that its targeted attacks aim at, the likeliest wrong ones: all of CIFAR-10's, as published."""
CLASSES = 4
"""Its targeted difference-of-logits-ratio loss divides by a difference to the fourth-best logit."""


def required() -> None:
    """Says whether it can be run at all.

    Raises:
        RequestError: it is not installed.
    """
    if find_spec("pyautoattack") is None:
        raise RequestError(
            "pyautoattack for AutoAttack",
            "no such package",
            "pip install 'transferbench[robust]', or leave it out: --set robustness.autoattack=[]",
        )


def check_classes(classes: int) -> None:
    """Says whether it has a meaning on a dataset.

    Raises:
        NotApplicable: there are too few classes for its loss.
    """
    if classes < CLASSES:
        raise NotApplicable(
            f"{CLASSES} classes for AutoAttack", f"{classes}", "leave it out: --set robustness.autoattack=[]"
        )


def autoattack(
    network: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor, radius: float, classes: int, seed: int
) -> tuple[Tensor, list[str]]:
    """The standard version for the maximum norm (Croce and Hein 2020), on one batch.

    APGD on cross-entropy, then on what is left APGD and FAB at nine target classes (at all the wrong ones where there
    are fewer), then Square with 5,000 queries. Random numbers follow from the seed and the batch.

    Args:
        network: images to logits.
        images: (B, 3, H, W) float in [0, 1].
        targets: (B,).
        radius: of the ball, in the unit of the images.
        classes: C.
        seed: of its random numbers.

    Returns:
        (B, 3, H, W), images that withstood as they are, and its warnings.
    """
    from pyautoattack import AutoAttack

    with _apart(images.device) as warnings:
        attack = AutoAttack(network, norm="Linf", eps=radius, seed=seed, device=images.device, version="standard")
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(TARGETS, classes - 1)
        changed, _ = attack.run_standard_evaluation(images, targets, batch_size=len(images))
    return changed, warnings


class _Kept(logging.Handler):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextlib.contextmanager
def _apart(device: torch.device) -> Iterator[list[str]]:
    """Puts back what the package changes: the random state, the process's tracing, and where its warnings go."""
    log, kept, tracing = logging.getLogger("auto-attack"), _Kept(), sys.gettrace()
    propagate, log.propagate = log.propagate, False
    log.addHandler(kept)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield kept.messages
    finally:
        log.removeHandler(kept)
        log.propagate = propagate
        sys.settrace(tracing)
