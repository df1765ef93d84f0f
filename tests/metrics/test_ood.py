"""Figures of images inside and outside, against scikit-learn; tables that contradict themselves are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from benchmark.errors import ResultError
from benchmark.metrics.columns import join
from benchmark.metrics.ood import SCORES, ood_table
from benchmark.metrics.registry import get_scorer, score
from leaderboard.statistics import paired_difference


def scores_of(n: int, shift: float, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: np.round(4 * (rng.normal(size=n) + shift * strength)) for strength, name in enumerate(SCORES, 1)}


def table_of(inside: dict[str, np.ndarray], outside: dict[str, np.ndarray]) -> pa.Table:
    """Two sets that use the same ids."""
    parts = {"inside": inside, "outside": outside}
    return join(
        [
            ood_table(which, pa.array([f"{place:04d}.jpg" for place in range(len(scores["knn"]))]), scores, 5)
            for which, scores in parts.items()
        ]
    )


def test_figures_are_scikit_learns() -> None:
    inside, outside = scores_of(300, 0.6, 0), scores_of(120, 0.0, 1)
    figures = {metric.name: metric for metric in score(table_of(inside, outside))}
    label = np.r_[np.ones(300), np.zeros(120)]
    for name in SCORES:
        values = np.concatenate([inside[name], outside[name]])
        fpr, tpr, _ = roc_curve(label, values, drop_intermediate=False)
        out_fpr, out_tpr, _ = roc_curve(1 - label, -values, drop_intermediate=False)
        expected = {
            "auroc": roc_auc_score(label, values),
            "fpr95": fpr[np.argmax(tpr >= 0.95)],
            "fpr95_out": out_fpr[np.argmax(out_tpr >= 0.95)],
            "aupr_in": average_precision_score(label, values),
            "aupr_out": average_precision_score(1 - label, -values),
        }
        for base, value in expected.items():
            found = figures[f"{base}@{name}"]
            assert found.value == pytest.approx(100 * value) and found.ci_low < found.value < found.ci_high
            assert found.n == 420 and found.higher_is_better == (not base.startswith("fpr95"))
    assert len(figures) == 15


def test_only_the_order_counts() -> None:
    inside, outside = scores_of(80, 0.6, 0), scores_of(70, 0.0, 1)
    plain = score(table_of(inside, outside))
    bent = [{name: np.exp(values / 7) for name, values in part.items()} for part in (inside, outside)]
    assert score(table_of(*bent)) == plain


def test_contributions_belong_to_the_images_that_they_are_listed_with() -> None:
    """Whatever the order of rows, the image outside that looks most like one inside does the most harm of them."""
    inside, outside = scores_of(60, 2.0, 0), scores_of(40, 0.0, 1)
    for name in SCORES:
        outside[name][7] = inside[name].max() + 1
    table = table_of(inside, outside)
    table = table.take(np.random.default_rng(0).permutation(100))
    for estimate in get_scorer("ood").estimates(table):
        assert list(estimate.units) == sorted(estimate.units) and estimate.strata.tolist() == [1] * 60 + [0] * 40
        assert estimate.contributions.mean() == pytest.approx(estimate.value)
        if estimate.name.startswith("fpr95_out"):
            continue  # it moves the threshold no more than the others beyond it
        changes = dict(zip(estimate.units[60:], estimate.contributions[60:, 0], strict=True))
        extreme = max if estimate.name.startswith("fpr95") else min  # several images are false positives alike
        assert changes["outside/0007.jpg"] == extreme(changes.values()), estimate.name


def test_a_better_score_is_found_to_be_better() -> None:
    inside, outside = scores_of(300, 0.5, 0), scores_of(300, 0.0, 1)
    better = {name: values + 4.0 for name, values in inside.items()}
    table, improved = table_of(inside, outside), table_of(better, outside)
    same = paired_difference(table, table, "auroc@knn")
    assert same.delta == 0 and same.p_value == 1
    found = paired_difference(table, improved, "auroc@knn")
    assert found.delta > 5 and found.p_value < 0.01 and found.ci_low > 0


def test_tables_that_contradict_themselves_are_refused() -> None:
    inside, outside = scores_of(30, 0.6, 0), scores_of(20, 0.0, 1)
    table = table_of(inside, outside)
    with pytest.raises(ResultError, match="inside and outside"):
        score(table.slice(0, 30))
    with pytest.raises(ResultError, match="two images or more"):
        score(table.slice(0, 31))
    with pytest.raises(ResultError, match="finite numbers in 'energy'"):
        score(table_of({**inside, "energy": np.full(30, np.inf)}, outside))
    with pytest.raises(ResultError, match="a column 'msp'"):
        score(table.drop_columns(["msp"]))
    with pytest.raises(ResultError, match="more than once"):
        score(pa.concat_tables([table, table.slice(0, 1)]))
