"""Logistic regression and ridge as tasks: scikit-learn and NumPy on the same split give the same figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, log_loss
from sklearn.preprocessing import StandardScaler

from benchmark.errors import NotApplicable
from benchmark.metrics.registry import score
from benchmark.task import Inputs
from tasks.linear import Linear
from tasks.sampling import class_ranks, held_out
from tests.tasks.worlds import blobs, by_sample, inputs_of, labels_of, shuffled, split_of, tagged

SWEEP, DINOV2, TRANSFER = (Linear.protocols[f"logreg/{name}"] for name in ("sweep", "dinov2", "ssl-transfer"))
RIDGE = Linear.protocols["ridge/big-vision"]
SHORT = {"lambda_min": 1e-1, "lambda_max": 1e2, "lambdas": 4}  # without the penalties that a small world makes slow


def figures(inputs: Inputs, protocol, seed: int = 0) -> dict:
    found = Linear().predict(inputs, protocol, seed)
    return {metric.name: metric.value for metric in score(found.table)} | {"found": found}


def peer(lam: float) -> LogisticRegression:
    return LogisticRegression(C=1 / lam, tol=1e-9, max_iter=10_000)


def arrays(inputs: Inputs):
    return (*(s.features.double().numpy() for s in (inputs.train, inputs.test)), inputs.train.targets.numpy(),
            inputs.test.targets.numpy())  # fmt: skip


def test_protocols_are_the_published_ones():
    assert next(iter(Linear.protocols)) == "logreg/sweep"
    assert (SWEEP.lambda_min, SWEEP.lambda_max, SWEEP.lambdas, SWEEP.standardise) == (1e-6, 1e5, 45, True)
    # C = 10^-6 .. 10^5 is lambda = 10^6 .. 10^-5
    assert (DINOV2.lambda_min, DINOV2.lambda_max, DINOV2.standardise, DINOV2.crop_pct) == (1e-5, 1e6, False, 1.0)
    assert (TRANSFER.held_out, TRANSFER.own_val, TRANSFER.standardise) == (0.2, True, False)
    assert (RIDGE.shots, RIDGE.draws) == ((1, 5, 10, 25), 3)


@pytest.mark.parametrize("protocol", [SWEEP, DINOV2], ids=["sweep", "dinov2"])
def test_is_the_pipeline_in_scikit_learn(protocol):
    """The same split, the same choice among the penalties, the same refit, the same probabilities."""
    inputs = blobs(noise=2.0)
    short = protocol.model_copy(update=SHORT)
    found = figures(inputs, short)
    train, test, y, truth = arrays(inputs)
    out = held_out(inputs.train, 0.1, 0)

    def scaled(fitted_on: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
        scaler = StandardScaler(with_mean=protocol.standardise, with_std=protocol.standardise).fit(fitted_on)
        return [scaler.transform(x) for x in (fitted_on, *others)]

    fit_x, val_x = scaled(train[~out], train[out])
    lambdas = np.logspace(-1, 2, 4)
    candidates = [peer(lam).fit(fit_x, y[~out]) for lam in lambdas]
    scores = [100 * model.score(val_x, y[out]) for model in candidates]
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))  # of equal scores, the strongest penalty
    details = found["found"].details
    assert details["lambda"] == pytest.approx(lambdas[best])
    solved = [(row["score"], scores[i]) for i, row in enumerate(details["curve"]) if row["solved"]]
    assert len(solved) >= 2 and all(ours == pytest.approx(theirs, abs=1e-3) for ours, theirs in solved)

    all_x, test_x = scaled(train, test)
    probability = peer(lambdas[best]).fit(all_x, y).predict_proba(test_x)
    lead = np.diff(np.sort(probability, axis=1)[:, -2:], axis=1)[:, 0]
    same = by_sample(found["found"].table, "prediction") == probability.argmax(axis=1)
    assert same[lead > 1e-3].all() and (lead > 1e-3).mean() > 0.95
    assert found["nll"] == pytest.approx(log_loss(truth, probability), abs=2e-3)
    assert (found["found"].selection, found["found"].selection_n) == ("train-10%", out.sum())

    logits = candidates[best].decision_function(val_x)

    def loss(log_temperature: float) -> float:
        z = logits / np.exp(log_temperature)
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), y[out]]))

    temperature = float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))
    assert details["temperature"] == pytest.approx(temperature, rel=0.02)
    cooled = probability ** (1 / temperature)
    assert found["nll@ts"] == pytest.approx(log_loss(truth, cooled / cooled.sum(axis=1, keepdims=True)), abs=5e-3)


def test_figures_before_and_after_temperature_scaling():
    found = figures(blobs(noise=3.0), SWEEP)
    assert set(found) == {"top1", "top5", "mean_per_class", "ece", "nll", "ece@ts", "nll@ts", "found"}
    assert found["found"].details["converged"]
    assert len(found["found"].details["curve"]) == 45


def test_ssl_transfer_takes_the_datasets_own_val_split_and_refits_on_both():
    inputs = blobs()
    val = blobs(seed=0, test=12).test
    val = split_of(val.features.numpy(), val.targets.numpy(), "val")
    with_val = Inputs(**{**vars(inputs), "val": val})
    transfer, sweep = (protocol.model_copy(update=SHORT) for protocol in (TRANSFER, SWEEP))
    found = Linear().predict(with_val, transfer, 0)
    assert (found.selection, found.selection_n) == ("val", 72)
    assert (found.details["n_fit"], found.details["n_refit"]) == (240, 312)
    without = Linear().predict(inputs, transfer, 0)
    assert (without.selection, without.selection_n, without.details["n_refit"]) == ("train-20%", 48, 240)
    swept = Linear().predict(with_val, sweep, 0)
    assert (swept.selection, swept.details["n_refit"]) == ("train-10%", 240)


@pytest.mark.parametrize(
    ("dataset", "multilabel", "headline"),
    [
        ("aircraft", False, "mean_per_class"),
        ("Caltech-101", False, "mean_per_class"),
        ("flowers102", False, "mean_per_class"),
        ("Oxford-IIIT-Pets", False, "mean_per_class"),
        ("food", False, "top1"),
        ("carpets", False, "top1"),
        ("voc07", True, "mAP@11pt"),
    ],
)
def test_ssl_transfer_quotes_and_selects_by_the_metric_of_the_dataset(dataset, multilabel, headline):
    assert Linear().headline_of(TRANSFER, dataset, multilabel) == headline
    assert Linear().headline_of(SWEEP, dataset, multilabel) == ("mAP" if multilabel else "top1")
    inputs = tagged(dataset=dataset) if multilabel else blobs(dataset=dataset)
    short = TRANSFER.model_copy(update=SHORT)
    found = figures(inputs, short)
    assert headline in found
    assert found["found"].details["criterion"] == headline


def test_several_labels_are_one_against_the_rest():
    inputs = tagged()
    short = SWEEP.model_copy(update=SHORT)
    found = figures(inputs, short)
    train, test, y, truth = arrays(inputs)
    scaler = StandardScaler().fit(train)
    scores = np.stack(
        [peer(found["found"].details["lambda"]).fit(scaler.transform(train), y[:, c]).decision_function(
            scaler.transform(test)) for c in range(5)], axis=1)  # fmt: skip
    assert found["mAP@step"] == pytest.approx(100 * average_precision_score(truth, scores, average="macro"), abs=0.1)
    assert found["found"].details["temperature"] is None


def test_labels_that_train_always_or_never_has_are_named_and_do_not_stop_the_rest():
    inputs = tagged()
    inputs.train.targets[:, 0] = 0
    found = figures(inputs, SWEEP.model_copy(update=SHORT))
    assert found["found"].details["classes_not_fitted"] == ["class0"]
    assert 0 < found["mAP"] < 100


def test_classes_of_one_image_are_fitted_and_not_held_out():
    inputs = blobs(classes=4, train=20)
    keep = np.ones(80, bool)
    keep[np.flatnonzero(inputs.train.targets.numpy() == 2)[1:]] = False
    train = split_of(inputs.train.features.numpy()[keep], inputs.train.targets.numpy()[keep], "train")
    found = figures(inputs_of(train, inputs.test, 4), SWEEP.model_copy(update=SHORT))
    assert found["found"].details["classes_not_held_out"] == ["class2"]
    single = split_of(np.eye(4), np.arange(4), "train")
    with pytest.raises(NotApplicable, match="hold out"):
        Linear().predict(inputs_of(single, split_of(np.eye(4), np.arange(4), "test"), 4), SWEEP, 0)


def test_constant_features_are_no_reason_to_fail():
    inputs = blobs()
    inputs.train.features[:, 3] = 7.0
    inputs.test.features[:, 3] = 7.0
    assert figures(inputs, SWEEP.model_copy(update=SHORT))["top1"] > 30


@pytest.mark.parametrize("protocol", [SWEEP, RIDGE], ids=["sweep", "ridge"])
def test_seed_decides_the_split_and_the_order_of_samples_does_not(protocol):
    inputs = blobs()
    if protocol is SWEEP:
        protocol = SWEEP.model_copy(update=SHORT)
    first, again, other = (Linear().predict(inputs, protocol, seed) for seed in (0, 0, 1))
    assert first.table.equals(again.table) and not first.table.equals(other.table)
    moved = Linear().predict(shuffled(inputs), protocol, 0)
    assert moved.details.get("lambda") == first.details.get("lambda")
    for variant in set(first.table["variant"].to_pylist()):
        ours, theirs = (by_sample(found.table, "prediction", variant) for found in (moved, first))
        assert (ours != theirs).mean() < 0.01


def test_ridge_is_scikit_learns_on_whitened_features_with_a_scaled_bias():
    """big_vision: targets -1 and 1, statistics of the drawn images, and a bias column of 100 under the same penalty."""
    inputs = blobs(classes=5, noise=2.0)
    found = figures(inputs, RIDGE)
    train, test, y, _ = arrays(inputs)
    for shots in (1, 5, 25):
        for draw in range(3):
            chosen = class_ranks(inputs.train, 0, draw) < shots
            mean, std = train[chosen].mean(axis=0), train[chosen].std(axis=0) + 1e-5
            x, z = (np.hstack([(part - mean) / std, np.full((len(part), 1), 100.0)]) for part in (train[chosen], test))
            model = Ridge(alpha=2.0**10, fit_intercept=False).fit(x, 2.0 * np.eye(5)[y[chosen]] - 1)
            rows = [r for r in found["found"].table.to_pylist() if r["variant"] == f"{shots}shot" and r["draw"] == draw]
            assert [row["prediction"] for row in rows] == model.predict(z).argmax(axis=1).tolist()
    assert {"top1@1shot", "top1@5shot", "top1@10shot", "top1@25shot"} <= set(found)
    assert Linear().headline_of(RIDGE, "blobs", False) == "top1@10shot"


def test_ridge_refuses_several_labels_per_image():
    inputs = tagged()
    with pytest.raises(NotApplicable):
        Linear().check(RIDGE, labels_of(inputs))
    Linear().check(SWEEP, labels_of(inputs))
