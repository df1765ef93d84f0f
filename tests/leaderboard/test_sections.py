"""Long lists of figures are read in sections; every figure is there once."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboard.sections import sections_of
from tests.command import CommandLine
from tests.leaderboard.charts.tables import (
    STORES,
    store_adversarial,
    store_calibration,
    store_colour,
    store_corruptions,
    store_occlusion,
    store_ood,
    store_shape_bias,
)
from tests.leaderboard.stores import store_result

WANTED = {
    store_corruptions: ["", "noise", "blur", "weather", "digital"],
    store_occlusion: ["", "drop", "shuffle"],
    store_colour: ["", "grey", "colour histogram"],
    store_calibration: ["", "as it is", "after temperature scaling"],
    store_adversarial: ["", "fgsm", "pgd", "autoattack"],
    store_ood: ["knn", "energy", "msp"],
    store_shape_bias: ["", "by category of the shape"],
}


@pytest.mark.parametrize("make", STORES)
def test_every_figure_is_in_one_section(tmp_path: Path, make) -> None:
    result = make(tmp_path, "m", 0.8).result
    sections = sections_of(result)
    assert sorted(m.name for section in sections for m in section.metrics) == sorted(m.name for m in result.metrics)
    assert [section.title for section in sections] == WANTED.get(make, [""])


def test_a_group_holds_its_own_figure_and_its_members(tmp_path: Path) -> None:
    by_title = {s.title: [m.name for m in s.metrics] for s in sections_of(store_corruptions(tmp_path, "m", 0.8).result)}
    assert by_title[""] == ["top1", "mean_error", "mean_drop"]
    assert by_title["noise"] == ["error@noise", "error@gaussian_noise", "error@shot_noise", "error@impulse_noise"]
    dropped = {s.title: [m.name for m in s.metrics] for s in sections_of(store_occlusion(tmp_path, "m", 0.8).result)}
    assert dropped["drop"] == ["top1@drop", "mean_drop@drop", "top1@drop-10", "top1@drop-50", "top1@drop-90"]
    assert dropped[""] == ["top1", "top1@changed", "mean_drop"]


def test_other_results_have_no_sections(tmp_path: Path) -> None:
    (section,) = sections_of(store_result(tmp_path, "m", 0.5))
    assert section.title == ""


def test_the_terminal_says_them_and_the_long_form_does_not(cli: CommandLine, tmp_path: Path) -> None:
    study = store_corruptions(tmp_path, "m", 0.8)
    lines = [line.rstrip() for line in cli("table", tmp_path).out.splitlines()]
    place = lines.index("   weather")
    assert [line.split()[0] for line in lines[place + 1 : place + 4]] == ["error@weather", "error@snow", "error@frost"]
    rows = cli("table", tmp_path, "--format", "csv").out.splitlines()
    assert len(rows) == 1 + len(study.result.metrics) and "weather," not in rows[0]
