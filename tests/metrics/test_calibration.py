"""Calibration figures against scikit-learn, other packages' definitions and sums by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss

from benchmark.errors import ResultError
from benchmark.metrics.calibration import Spread, adaptive_bins, calibration_table
from benchmark.metrics.classification import calibration_gaps
from benchmark.metrics.columns import classification_table
from benchmark.metrics.registry import get_scorer, score

N, CLASSES = 900, 7


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def world(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, C) logits that are too sure of themselves, and targets."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, CLASSES))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from their softmax
    return 2.5 * logits, targets


def table_of(logits: np.ndarray, targets: np.ndarray, temperature: float = 2.5) -> pa.Table:
    ids = pa.array([f"i{place:04d}" for place in range(len(targets))])
    ranked = np.argsort(-logits, axis=1)[:, :5]
    plain, scaled = softmax(logits), softmax(logits / temperature)
    pairs = [part for p in (plain, scaled) for part in (p.max(axis=1), np.log(p[np.arange(len(targets)), targets]))]
    answers = classification_table(ids, targets, ranked, CLASSES, "", 0, *pairs)
    spreads = {
        name: Spread(np.log(p.max(axis=1) / (1 - p.max(axis=1))), (p**2).sum(axis=1))
        for name, p in (("", plain), ("ts", scaled))
    }
    return calibration_table(answers, spreads)


def test_figures_are_those_of_their_definitions_plain_and_scaled() -> None:
    logits, targets = world()
    table = table_of(logits, targets)
    figures = {metric.name: metric for metric in score(table)}
    for scaling, temperature in (("", 1.0), ("@ts", 2.5)):
        p = softmax(logits / temperature)
        assert figures[f"nll{scaling}"].value == pytest.approx(log_loss(targets, p, labels=range(CLASSES)), abs=1e-5)
        one_hot = np.eye(CLASSES)[targets]
        assert figures[f"brier{scaling}"].value == pytest.approx(((p - one_hot) ** 2).sum(axis=1).mean(), abs=1e-5)
        hits, confidence = p.argmax(axis=1) == targets, p.max(axis=1)
        parts = np.array_split(np.argsort(confidence), 15)  # 60 images each
        gaps = [len(part) / N * abs(hits[part].mean() - confidence[part].mean()) for part in parts]
        assert figures[f"adaptive_ece{scaling}"].value == pytest.approx(100 * sum(gaps), abs=1e-4)
        order = np.argsort(-confidence)
        risk = np.cumsum(~hits[order]) / np.arange(1, N + 1)
        name = scaling.replace("@", "-")
        assert figures[f"aurc{scaling}"].value == pytest.approx(100 * risk.mean(), abs=1e-6)
        assert figures[f"selective_accuracy@80{name}"].value == pytest.approx(100 * (1 - risk[719]), abs=1e-6)
        assert figures[f"coverage@risk5{name}"].value == pytest.approx(
            100 * max(np.flatnonzero(risk <= 0.05) + 1, default=0) / N
        )
    assert figures["top1"].value == pytest.approx(100 * (logits.argmax(axis=1) == targets).mean())
    for metric in figures.values():
        assert metric.ci_low <= metric.value <= metric.ci_high and metric.n == N, metric
    # The scale that the targets were drawn under is the calibrated one.
    assert figures["ece@ts"].value < 5 < 15 < figures["ece"].value
    assert figures["adaptive_ece@ts"].ci_low < 2 and figures["brier@ts"].value < figures["brier"].value
    assert {name for name in figures if "@" not in name} == {
        *("top1", "ece", "nll", "adaptive_ece", "brier", "aurc", "eaurc")
    }
    assert figures["selective_accuracy@80"].higher_is_better and not figures["aurc"].higher_is_better


def test_what_the_two_scorers_share_is_the_same() -> None:
    logits, targets = world(200)
    table = table_of(logits, targets)
    mine = {one.name: one for one in get_scorer("calibration").estimates(table)}
    theirs = {one.name: one for one in get_scorer("classification").estimates(table)}
    for name in ("top1", "ece", "ece@ts", "nll", "nll@ts"):
        assert mine[name].value == theirs[name].value and mine[name].interval() == theirs[name].interval()


@pytest.mark.parametrize(("n", "bins"), [(1000, 15), (97, 15), (10, 15), (64, 4)])
@pytest.mark.parametrize("levels", [None, 9])
def test_adaptive_bins_follow_the_published_edges(n: int, bins: int, levels: int | None) -> None:
    rng = np.random.default_rng(n)
    confidence = rng.random(n) if levels is None else rng.integers(1, levels, n) / levels
    edges = np.sort(confidence)[[min(n - 1, int(np.round(m * n / bins))) for m in range(bins)]][1:]
    expected = [sum(edge <= value for edge in edges) for value in confidence]  # a bin begins with its edge
    found = adaptive_bins(confidence, bins)
    assert found.tolist() == expected
    if levels is None and n >= bins:
        size = np.bincount(found, minlength=bins)
        assert size.max() - size.min() <= 1
    for value in np.unique(confidence):
        assert len(np.unique(found[confidence == value])) == 1


def test_the_interval_of_the_adaptive_error_holds_the_error_of_many_images() -> None:
    """Equal bins of 200,000 images stand for the population."""
    logits, targets = world(200_000, seed=99)
    p = softmax(logits)
    confidence, hit = p.max(axis=1), p.argmax(axis=1) == targets
    truth = 100 * np.abs(calibration_gaps(confidence, hit, adaptive_bins(confidence)).mean(axis=0)).sum()
    held = 0
    for seed in range(40):
        rows = np.random.default_rng(seed).choice(200_000, 600, replace=False)
        found = {one.name: one for one in get_scorer("calibration").estimates(table_of(logits[rows], targets[rows]))}
        low, high = found["adaptive_ece"].interval()
        held += low <= truth <= high
    assert held >= 33  # of 40; at a coverage of 95% one in 5,000 runs has fewer


def test_confidences_that_are_one_as_floats_keep_their_order() -> None:
    """Log-odds of 40 and 60 are both a probability of 1."""
    targets = np.array([0, 0, 1, 0])
    logits = np.array([[40.0, 0.0], [60.0, 0.0], [30.0, 0.0], [35.0, 0.0]])
    p = softmax(logits)
    log_prob = np.array([0.0, 0.0, -30.0, 0.0])
    answers = classification_table(
        pa.array(list("abcd")), targets, np.argsort(-logits, axis=1), 2, "", 0, *2 * (p.max(axis=1), log_prob)
    )
    spread = Spread(logits[:, 0], (p**2).sum(axis=1))
    figures = {metric.name: metric.value for metric in score(calibration_table(answers, {"": spread, "ts": spread}))}
    assert figures["aurc"] == pytest.approx(100 * (1 / 4) / 4)  # the error is the least sure of the four
    assert figures["eaurc"] == pytest.approx(0)
    assert figures["coverage@risk1"] == pytest.approx(75)


def test_tables_that_contradict_themselves_are_refused() -> None:
    logits, targets = world(60)
    table = table_of(logits, targets)

    def changed(name: str, values: np.ndarray) -> pa.Table:
        place = table.column_names.index(name)
        return table.set_column(place, name, pa.array(values.astype(np.float32)))

    with pytest.raises(ResultError, match="'log_odds' and 'confidence' that agree"):
        score(changed("log_odds", np.asarray(table["log_odds"]) + 1))
    with pytest.raises(ResultError, match="'scaled_squares'"):
        score(changed("scaled_squares", np.full(60, 1.1)))
    with pytest.raises(ResultError, match="finite numbers in 'squares'"):
        score(changed("squares", np.full(60, np.nan)))
    with pytest.raises(ResultError, match="a column 'squares'"):
        score(table.drop_columns(["squares"]))
    with pytest.raises(ResultError, match="columns of scorer"):
        score(table, "classification")
