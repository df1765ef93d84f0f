"""Accuracy against the radius of an attack, against counts by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboard.charts import adversarial
from leaderboard.charts.chart import DATA
from tests.leaderboard.charts.tables import TARGETS, answers, store_adversarial


def top1(skill: float, first: int | None = None) -> float:
    return 100 * float((answers(skill) == TARGETS)[:first].mean())


def test_every_attack_has_its_radii_and_starts_at_clean_images_where_it_saw_all(tmp_path: Path) -> None:
    chart = adversarial.one(store_adversarial(tmp_path, "m", 0.9))
    rows = [row for row in chart.spec["datasets"][DATA] if row["part"] == "curve"]
    found = {name: [(r["x"], r["v"]) for r in rows if r["series"] == name] for name in adversarial.NAMES.values()}
    assert list(dict.fromkeys(row["series"] for row in rows)) == ["FGSM", "PGD", "AutoAttack"]
    assert found["PGD"] == [
        (0.0, pytest.approx(top1(0.9), abs=1e-3)),
        *((eps, pytest.approx(top1(0.9 * 0.5**eps), abs=1e-3)) for eps in (1.0, 2.0, 4.0)),
    ]
    assert [x for x, _ in found["FGSM"]] == [0.0, 1.0, 2.0]
    assert found["AutoAttack"] == [(4.0, pytest.approx(top1(0.05 * 0.9, 30), abs=1e-3))]
    assert "AutoAttack on 30 of 120 images." in chart.caption


def test_several_models_have_a_panel_for_each_attack(tmp_path: Path) -> None:
    studies = [store_adversarial(tmp_path, name, skill) for name, skill in (("a", 0.9), ("b", 0.5))]
    spec = adversarial.several(studies).spec
    assert [part["title"]["text"] for part in spec["hconcat"]] == ["FGSM", "PGD", "AutoAttack"]
    rows = [row for row in spec["datasets"][DATA] if row.get("attack") == "PGD" and row["x"] == 4.0]
    assert [(row["series"], row["v"]) for row in rows] == [
        ("a", pytest.approx(top1(0.9 / 16), abs=1e-3)),
        ("b", pytest.approx(top1(0.5 / 16), abs=1e-3)),
    ]
