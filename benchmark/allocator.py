"""Memory that is given back to the kernel between two batches has to be asked for, and cleared, again."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
_KEPT = 2**31 - 1  # bytes of freed memory at the end of the heap that stay with the process: an int of C
_LARGE = (1 << 30, 32 << 20)  # bytes from which a block is the kernel's own; older versions take the second at most


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed, for the next batch; says whether it does. Elsewhere nothing happens.

    By default every block above 32 MB is mapped anew, and its pages are cleared and entered one by one: on a CPU that
    takes a large part of a forward pass, whose activations are such blocks.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    kept = bool(mallopt(_TRIM_THRESHOLD, _KEPT))
    return any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGE) and kept
