"""`python -m tests.perf [NAME ...] [--quick] [--out perf.json] [--cores 2]`: run, print a table, write the figures."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.perf.registry import Row

_MODULES = tuple(
    f"tests.perf.{name}"
    for name in ("logreg", "knn", "extraction", "battery", "memory", "site", "corruptions", "changes")
)  # each registers its benchmarks when imported

app = cyclopts.App(name="python -m tests.perf", help="Side-by-side benchmarks.")


@app.default
def main(
    names: Annotated[list[str] | None, cyclopts.Parameter(help="which benchmarks; all if none is named")] = None,
    *,
    quick: Annotated[bool, cyclopts.Parameter(help="small sizes; the figures are no claim")] = False,
    out: Annotated[Path, cyclopts.Parameter(help="where the figures go")] = Path("perf.json"),
    cores: Annotated[int, cyclopts.Parameter(help="CPU cores that both sides have")] = 2,
) -> int:
    """Run benchmarks; 0 if every requirement was met, 1 if one was not, 2 for a name that is not there."""
    if hasattr(os, "sched_setaffinity"):  # before the numeric libraries count the cores
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
    import torch

    from tests.perf.registry import REGISTRY, Setting

    torch.set_num_threads(cores)
    for module in _MODULES:
        importlib.import_module(module)
    unknown = sorted(set(names or ()) - set(REGISTRY))
    if unknown:
        print(f"expected benchmarks among {', '.join(REGISTRY)}; found {', '.join(unknown)}", file=sys.stderr)
        return 2
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    rows: list[tuple[str, Row]] = []
    console = Console()
    for name in names or REGISTRY:
        for device in devices:
            console.log(f"{name} on {device}")
            for row in REGISTRY[name](Setting(torch.device(device), quick)):
                rows.append((device, row))
                console.log(f"  {row.name}: ours {row.ours:.2f}, peer {row.peer:.2f}, ratio {row.ratio:.2f}")
                console.print("    " + ", ".join(f"{key} {_short(value)}" for key, value in row.notes.items()))
                _write(out, rows, quick, cores)
    console.print(_table(rows))
    return 1 if any(row.met is False for _, row in rows) else 0


def _write(out: Path, rows: list[tuple[str, Row]], quick: bool, cores: int) -> None:
    import torch

    facts = {
        "machine": platform.processor() or platform.machine(), "cores": cores, "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None, "quick": quick,
    }  # fmt: skip
    text = json.dumps({**facts, "rows": [{"device": device, **asdict(row)} for device, row in rows]}, indent=1)
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(out)


def _table(rows: list[tuple[str, Row]]) -> Table:
    table = Table("benchmark", "device", "ours", "peer", "ratio", "required", "met", title="ours and peers")
    for device, row in rows:
        met = {True: "yes", False: "NO", None: "-"}[row.met]
        ours, peer = f"{row.ours:.2f} {row.unit}", f"{row.peer:.2f} {row.unit}"
        table.add_row(row.name, device, ours, peer, f"{row.ratio:.2f}", row.requirement, met)
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(app())
