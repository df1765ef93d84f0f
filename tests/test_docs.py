"""Generated pages are what their sources say today."""

from __future__ import annotations

import csv
import re
import runpy
from pathlib import Path

import yaml

from benchmark.checkpoints.layouts import known

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_checkpoints_is_up_to_date() -> None:
    made = runpy.run_path(str(DOCS / "make_checkpoints.py"))["page"]()
    assert (DOCS / "checkpoints.md").read_text("utf-8") == made, "run `make docs`"
    assert all(f"| `{name}` |" in made for name in known())


def test_every_comparison_with_official_code_names_its_commit_and_is_within_the_limit() -> None:
    with (DOCS / "proofs.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) > 100
    for row in rows:
        assert re.fullmatch(r"[0-9a-f]{40}|release \d+(\.\d+)+(\+\w+)?", row["commit"]), row
        assert float(row["max_difference"]) <= 1e-5, row


def test_what_cannot_be_loaded_says_why() -> None:
    for entry in yaml.safe_load((DOCS / "unavailable.yaml").read_text("utf-8")):
        assert {"method", "why", "source"} == set(entry) and all(entry.values()), entry
