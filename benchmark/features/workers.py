"""Decoding processes: how they begin, how long they are waited for, and what it means when one is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmark.errors import DataError

PATIENCE = 600
"""Seconds to wait for a batch: slow disks answer before; a process that hangs never does."""

_NICE = 10
"""Decoding yields to a forward pass on the same cores, whose threads wait for each other, and fills what it leaves."""


def quiet_worker(worker: int) -> None:
    """How a decoding process begins (`worker_init_fn` of a DataLoader): one thread, behind whoever computes."""
    torch.set_num_threads(1)  # decoding is single-threaded; a pool per worker would fight the forward pass
    os.nice(_NICE)


def default_workers() -> int:
    """One decoding process per core that this process may use, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def decoded(
    items: TorchDataset[Any],
    workers: int,
    where: Callable[[int], str] = "batch {}".format,
    start: Callable[[int], None] = quiet_worker,
    **options: Any,
) -> Iterator[Any]:
    """What a DataLoader over `items` gives, with a line for people where it would hang or die.

    Args:
        items: what processes read.
        workers: how many processes; with 0 this one reads, and nobody watches it.
        where: the number of a batch -> what it was to hold, in a few words.
        start: how a process begins.
        options: further arguments of the DataLoader.

    Raises:
        DataError: a process died, or gave nothing for `PATIENCE` seconds.
    """
    timeout = PATIENCE if workers else 0
    loader = DataLoader(items, num_workers=workers, worker_init_fn=start, timeout=timeout, **options)
    arriving, number = iter(loader), 0
    while True:
        try:
            found = next(arriving)
        except StopIteration:
            return
        except RuntimeError as error:
            raise _lost(error, where(number)) from error
        yield found
        number += 1


def _lost(error: RuntimeError, where: str) -> Exception:
    """What a batch that never came means; torch says so in words alone."""
    on = "the same command goes on from here"
    if "timed out" in str(error):
        return DataError(f"images within {PATIENCE} s", f"nothing of {where}", f"see which does not answer; {on}")
    if "exited unexpectedly" in str(error) or "killed by signal" in str(error):
        todo = f"see whether memory ran out, or pass fewer --workers; {on}"
        return DataError("decoding processes that live", f"one that died at or soon after {where}", todo)
    return error
