"""Models are grouped by what they share, and by nothing that nobody said."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import RequestError
from benchmark.results.schema import Result
from leaderboard.groups import grouped
from leaderboard.tables import Entry
from tests.command import CommandLine
from tests.leaderboard.stores import store_result
from tests.results.examples import example_result


def entry(name: str, **facts: object) -> Entry:
    base = example_result()
    result: Result = base.model_copy(update={"model": base.model.model_copy(update={"name": name, **facts})})
    return Entry(Path("runs"), result)


ENTRIES = [
    entry("a", arch="vit_small_patch16_224?num_heads=12", epochs=300),
    entry("b", arch="vit_small_patch16_224.dino", epochs=800, groups={"lab": "x"}),
    entry("c", arch="resnet50", epochs=300),
    entry("d", arch="vit_small_patch16_224"),
]


def members(*facts: str) -> dict[tuple[str, ...], list[str]]:
    return {key: [one.result.model.name for one in group] for key, group in grouped(ENTRIES, facts).items()}


def test_groups_are_of_one_network_however_it_is_written() -> None:
    assert members("architecture") == {("vit_small_patch16_224",): ["a", "b", "d"], ("resnet50",): ["c"]}


def test_what_nobody_said_comes_last() -> None:
    assert list(members("epochs")) == [("300",), ("800",), ("not said",)]
    assert members("lab") == {("x",): ["b"], ("not said",): ["a", "c", "d"]}
    assert members("architecture", "epochs")[("vit_small_patch16_224", "800")] == ["b"]


def test_an_unknown_fact_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="architecture"):
        grouped(ENTRIES, ["architectur"])


def test_the_table_has_a_part_for_each_group(tmp_path: Path, cli: CommandLine) -> None:
    for name in ("a", "b"):
        store_result(tmp_path, name, 0.5)
    found = cli("table", tmp_path, "--by", "architecture")
    assert found.code == 0 and "resnet50" in found.out
    found = cli("table", tmp_path, "--by", "architecture", "--format", "csv")
    assert found.code == 2 and "--by in the terminal" in found.err
