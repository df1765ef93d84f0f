"""Makes `reference.npz`: what a compiled mmcv gives on the cases. `python -m tests.tasks.openmmlab.make_reference`.

Needs mmcv compiled for the CPU (`MMCV_WITH_OPS=1`, 10-40 minutes), which the tests do not.
"""

from pathlib import Path

import numpy as np

from tasks.openmmlab import ops
from tests.tasks.openmmlab.cases import run_all

REFERENCE = Path(__file__).with_name("reference.npz")


def main() -> None:
    """Writes the file."""
    operators = ops.provide()
    if not operators.compiled:
        raise SystemExit(f"expected a compiled mmcv; found {operators.description}; compile it with MMCV_WITH_OPS=1")
    np.savez_compressed(REFERENCE, made_by=np.array(operators.description), **dict(run_all()))
    print(f"{REFERENCE}: {REFERENCE.stat().st_size / 1024:.0f} KiB, {operators.description}")


if __name__ == "__main__":
    main()
