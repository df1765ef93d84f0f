"""ROC curves: thinned, and still of the stored area."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import auc, roc_curve

from benchmark.metrics.ood import SCORES
from leaderboard.charts import ood
from leaderboard.charts.chart import DATA
from tests.leaderboard.charts.tables import store_ood


def test_points_lie_on_scikit_learns_curve_and_enclose_the_area(tmp_path: Path) -> None:
    study = store_ood(tmp_path, "m", 0.8)
    chart = ood.one(study)
    variant = np.array(study.table["variant"].cast("string")) == "inside"
    for score in SCORES:
        rows = [row for row in chart.spec["datasets"][DATA] if row["series"] == ood.NAMES[score]]
        x, y = (np.array([row[name] for row in rows]) for name in "xy")
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 100, 100) and (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
        whole = {
            (round(100 * a, 2), round(100 * b, 2))
            for a, b in zip(*roc_curve(variant, np.array(study.table[score]))[:2], strict=True)
        }
        assert set(zip(x.tolist(), y.tolist(), strict=True)) <= whole
        area = study.figures[f"auroc@{score}"]
        assert auc(x, y) / 100 == pytest.approx(area.value, abs=1.0)
        assert f"{ood.NAMES[score]} {area.value:.1f} [" in chart.caption


def test_several_models_have_a_panel_for_each_score(tmp_path: Path) -> None:
    studies = [store_ood(tmp_path, name, skill) for name, skill in (("a", 0.9), ("b", 0.5))]
    spec = ood.several(studies).spec
    assert [part["title"]["text"] for part in spec["hconcat"]] == list(ood.NAMES.values())
    assert {row["series"] for row in spec["datasets"][DATA]} == {"a", "b"}
