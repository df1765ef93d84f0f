"""Freed memory is kept for the next batch, where the C library can be told to."""

import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import numpy as np
from benchmark.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print("unavailable"); sys.exit()
for round in range(6):
    if round == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(48 << 20, np.uint8).fill(round)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> str:
    """Pages entered while blocks of 48 MB come and go five times."""
    return subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True).stdout.strip()


def test_pages_of_freed_blocks_are_not_entered_again() -> None:
    kept = faults("keep")
    if kept == "unavailable":
        pytest.skip("the C library has no mallopt")
    assert int(kept) * 10 < int(faults("leave"))
