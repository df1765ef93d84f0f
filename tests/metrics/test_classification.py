"""The classification scorer against hand-worked figures and scikit-learn."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score

from benchmark.errors import ResultError
from benchmark.metrics.columns import classification_table, join
from benchmark.metrics.registry import score


def table_of(
    probabilities: np.ndarray, targets: np.ndarray, variant: str = "", draw: int = 0, bare: bool = False
) -> pa.Table:
    n, classes = probabilities.shape
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, : min(5, classes)]
    return classification_table(
        pa.array([f"img/{i:05d}.jpg" for i in range(n)]),
        targets,
        ranked,
        classes,
        variant,
        draw,
        None if bare else probabilities.max(axis=1),
        None if bare else np.log(probabilities[np.arange(n), targets]),
    )


def softmax_world(n: int, classes: int, seed: int = 0, sharp: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * sharp
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (probabilities.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return probabilities, targets


def figures(table: pa.Table) -> dict[str, float]:
    return {metric.name: metric.value for metric in score(table)}


def test_hand_worked_table():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.25, 0.35, 0.4]])
    targets = np.array([0, 1, 1, 2])
    found = {metric.name: metric for metric in score(table_of(probabilities, targets))}
    assert set(found) == {"top1", "mean_per_class", "ece", "nll"}  # top-5 of three classes says nothing
    assert found["top1"].value == pytest.approx(75.0)
    assert found["mean_per_class"].value == pytest.approx(100 * (1 + 1 / 2 + 1) / 3)
    # Four bins with one sample each: |1-.7|, |0-.5|, |1-.8|, |1-.4|
    assert found["ece"].value == pytest.approx(100 * (0.3 + 0.5 + 0.2 + 0.6) / 4, rel=1e-5)
    assert found["nll"].value == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.4]).mean(), rel=1e-5)
    assert not found["ece"].higher_is_better and not found["nll"].higher_is_better and found["top1"].higher_is_better
    assert {metric.n for metric in found.values()} == {4}


def test_agrees_with_scikit_learn():
    probabilities, targets = softmax_world(500, 9)
    found = figures(table_of(probabilities, targets))
    predicted = probabilities.argmax(axis=1)
    assert found["top1"] == pytest.approx(100 * (predicted == targets).mean())
    assert found["top5"] == pytest.approx(100 * top_k_accuracy_score(targets, probabilities, k=5))
    assert found["mean_per_class"] == pytest.approx(100 * balanced_accuracy_score(targets, predicted))
    assert found["nll"] == pytest.approx(log_loss(targets, probabilities, labels=range(9)), rel=1e-5)


def test_calibration_error_is_the_binned_definition():
    probabilities, targets = softmax_world(700, 4, seed=3)
    confidence = probabilities.max(axis=1).astype(np.float32).astype(np.float64)
    hit = probabilities.argmax(axis=1) == targets
    expected = 0.0
    for left in range(15):
        inside = (confidence > left / 15) & (confidence <= (left + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    assert figures(table_of(probabilities, targets))["ece"] == pytest.approx(100 * expected)


def test_classes_without_test_samples_do_not_enter_the_mean_per_class():
    probabilities, targets = softmax_world(300, 8)
    keep = targets != 3
    found = figures(table_of(probabilities[keep], targets[keep]))
    predicted = probabilities.argmax(axis=1)[keep]
    within = [(predicted[targets[keep] == c] == c).mean() for c in range(8) if c != 3]
    assert found["mean_per_class"] == pytest.approx(100 * np.mean(within))


def test_a_method_without_probabilities_has_no_calibration_figures():
    probabilities, targets = softmax_world(60, 7)
    assert set(figures(table_of(probabilities, targets, bare=True))) == {"top1", "top5", "mean_per_class"}


def test_variants_are_scored_apart():
    probabilities, targets = softmax_world(80, 6)
    other, _ = softmax_world(80, 6, seed=9)
    found = figures(join([table_of(probabilities, targets, "k10"), table_of(other, targets, "k20")]))
    assert found["top1@k10"] == figures(table_of(probabilities, targets))["top1"]
    assert found["top1@k20"] == figures(table_of(other, targets))["top1"]


def test_spread_over_draws_is_kept_apart_from_the_interval():
    _, targets = softmax_world(400, 6)
    tables, accuracies = [], []
    for draw in range(5):
        probabilities, _ = softmax_world(400, 6, seed=draw)
        tables.append(table_of(probabilities, targets, "1shot", draw))
        accuracies.append(100 * (probabilities.argmax(axis=1) == targets).mean())
    metric = next(one for one in score(join(tables)) if one.name == "top1@1shot")
    assert metric.value == pytest.approx(np.mean(accuracies))
    assert metric.spread == pytest.approx(np.std(accuracies, ddof=1))
    assert metric.draws == 5 and metric.n == 400
    single = score(table_of(*softmax_world(400, 6)))[0]
    assert single.spread is None and single.draws == 1


def test_row_order_does_not_change_a_digit():
    table = join([table_of(*softmax_world(200, 6), "a", draw) for draw in range(2)])
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert score(shuffled) == score(table)


def test_a_parquet_file_alone_suffices():
    table = join([table_of(*softmax_world(90, 6), variant) for variant in ("k10", "k20")])
    held = io.BytesIO()
    pq.write_table(table, held, row_group_size=37)
    assert score(pq.read_table(held)) == score(table)


def replaced(table: pa.Table, name: str, values: list) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values, type=table.schema.field(name).type))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("target", lambda v: [9, *v[1:]], r"'target' in \[0, 6\)"),
        ("target", lambda v: [-1, *v[1:]], r"'target' in \[0, 6\)"),
        ("prediction", lambda v: [(v[0] + 1) % 6, *v[1:]], "top5"),
        ("top5", lambda v: [[v[0][0]] * 5, *v[1:]], "one class twice"),
        ("sample", lambda v: [v[1], *v[1:]], "more than once"),
        ("confidence", lambda v: [float("nan"), *v[1:]], "finite"),
        ("confidence", lambda v: [None, *v[1:]], "for all samples"),
        ("confidence", lambda v: [1.5, *v[1:]], "confidence"),
        ("log_prob", lambda v: [float("-inf"), *v[1:]], "finite"),
        ("log_prob", lambda v: [0.5, *v[1:]], "log_prob"),
        ("log_prob", lambda v: [0.0] * len(v), "agree"),
        ("prediction", lambda v: [None, *v[1:]], "null"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(name, change, said):
    table = table_of(*softmax_world(40, 6))
    with pytest.raises(ResultError, match=said):
        score(replaced(table, name, change(table.column(name).to_pylist())))


def test_refuses_draws_over_other_samples_missing_columns_and_empty_tables():
    table = table_of(*softmax_world(40, 6))
    other = replaced(table.slice(0, 30), "draw", [1] * 30)
    with pytest.raises(ResultError, match="same samples"):
        score(join([table, other]))
    with pytest.raises(ResultError, match="'top5'"):
        score(table.drop_columns(["top5"]))
    with pytest.raises(ResultError, match="rows"):
        score(table.slice(0, 0))
    with pytest.raises(ResultError, match="metadata"):
        score(table.replace_schema_metadata(None))


def test_targets_that_differ_between_draws_are_refused():
    probabilities, targets = softmax_world(40, 6)
    with pytest.raises(ResultError, match="same targets"):
        score(join([table_of(probabilities, targets), table_of(probabilities, (targets + 1) % 6, draw=1)]))
