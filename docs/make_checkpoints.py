"""Writes `checkpoints.md`: every family of checkpoints, how it loads, and how that was proved.

The families come from the layouts themselves, the comparisons with official code from `proofs.csv`, and what cannot be
loaded from `unavailable.yaml`. `make docs` runs this; a test fails when the page is older than what it is made from.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import yaml

from benchmark.checkpoints.layout import Layout
from benchmark.checkpoints.layouts import known

HERE = Path(__file__).parent
PAGE = HERE / "checkpoints.md"
_HEAD = """# Checkpoints

What `run` and `inspect` take as it was published, with no `--arch` and no script. A file is recognised by its entries
and tensor names (the layout), its architecture is read from the shapes of its tensors, and every tensor is matched, or
dropped for a stated reason, or the load stops. `python run_bench.py inspect FILE` prints all of that for a file;
`inspect FILE --audit --data SOURCE` also measures whether another preprocessing would score better.

What shapes cannot say (heads, padding, activation, epsilon) the layout says; where neither does, an error lists the
candidates. Where a file holds several encoders, a recognised layout takes the one that its authors evaluate and says
so; of a file that no layout recognises none is taken without `--key` or `--layout`.

This page is made by `make docs` from the layouts (`benchmark/checkpoints/families/`), `proofs.csv` and
`unavailable.yaml`.
"""


def page() -> str:
    """The text of the page."""
    proved = ["## Compared with official code\n", _proofs()]
    return "\n".join([_HEAD, "## Families\n", _families(), *proved, "## Not loaded\n", _missing()])


def _families() -> str:
    lines = [
        "`--layout` is needed only where `recognised` says so. Statistics are ImageNet's where none are stated.\n",
        "| layout | methods | takes | recognised | preprocessing | beware |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(layout) for layout in known().values()]
    return "\n".join(lines) + "\n"


def _row(layout: Layout) -> str:
    found = layout.recognise.entries or layout.recognise.keys
    how = "by itself" if found and not layout.recognise.certain else "by itself, if complete" if found else "`--layout`"
    settings = ", ".join(f"{name} {_value(value)}" for name, value in layout.preprocessing.items())
    cells = (f"`{layout.name}`", ", ".join(layout.methods), layout.summary, how, settings, "; ".join(layout.quirks))
    return _line(cells)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "/".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)


def _proofs() -> str:
    """The largest difference to the official encoder, by family and commit."""
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    with (HERE / "proofs.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            groups[row["family"], row["repo"], row["commit"]].append(row)
    lines = [
        "Each authors' encoder was built from their code with random weights, saved as their training script saves it",
        "(optimiser, heads, queues and all), and loaded here; both then encoded the same images in float32. The",
        "figure is the largest difference over the largest value, over all that was compared. Where only the encoder",
        "could be run, the file around it (heads, wrapper, BYOL's pickle) was rebuilt from the training script.\n",
        "| family | repository | commit | networks | compared | largest relative difference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (family, repo, commit), rows in groups.items():
        nets = ", ".join(dict.fromkeys(row["arch"] for row in rows))
        compared = "; ".join(dict.fromkeys(row["compared"] for row in rows))
        worst = max(float(row["max_difference"]) for row in rows)
        cells = (family, repo, f"`{commit[:10]}`", nets, compared, f"{worst:.1e}")
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _missing() -> str:
    listed = yaml.safe_load((HERE / "unavailable.yaml").read_text("utf-8"))
    lines = ["| method | why | source |", "| --- | --- | --- |"]
    for entry in sorted(listed, key=lambda entry: entry["method"].lower()):
        cells = (entry["method"], entry["why"], str(entry["source"]))
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(known())} layouts")
