"""Scores of images of something else, against scikit-learn's neighbours and scipy's sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logit, logsumexp, softmax
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from benchmark.data.dataset import Shift
from benchmark.errors import DataError, NotApplicable
from benchmark.metrics.registry import score
from benchmark.task import Inputs, Labels, SplitFeatures
from tasks.robustness.judge import judge_of
from tasks.robustness.ood import OodSettings
from tasks.robustness.task import Robustness
from tests.tasks.worlds import blobs, by_sample, labels_of, split_of

FEW = {"lambdas": 3, "lambda_min": 0.1, "lambda_max": 100.0}
PROTOCOL = Robustness.protocols["robust/ood"].model_copy(update=FEW)


def world(n: int = 80, away: float = 2.0, **more) -> Inputs:
    """Blobs, and `n` images around another centre; their ids are those of reported images."""
    inputs = blobs(**more)
    rng = np.random.default_rng(9)
    centre = away * rng.normal(size=inputs.train.features.shape[1])
    features = centre + 1.4 * rng.normal(size=(n, len(centre)))
    return replace(inputs, shifted=split_of(features, np.zeros(n), "test"), shift=Shift("x", ("other",), None))


def predict(inputs: Inputs, **changes) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Figures, and the stored scores of both sets by id, those inside first."""
    found = Robustness().predict(inputs, PROTOCOL.model_copy(update=changes), seed=0)
    figures = {metric.name: metric.value for metric in score(found.table)}
    names = ("knn", "energy", "msp")
    stored = {
        name: np.r_[by_sample(found.table, name, "inside"), by_sample(found.table, name, "outside")] for name in names
    }
    return figures, stored


@pytest.mark.parametrize("k", [1, 50, 1000])
def test_the_distance_to_the_kth_neighbour_is_scikit_learns(k: int) -> None:
    inputs = world()
    figures, stored = predict(inputs, k=k)
    train = normalize(inputs.train.features.numpy())
    search = NearestNeighbors(n_neighbors=min(k, len(train))).fit(train)
    both = [normalize(split.features.numpy()[np.argsort(split.ids.to_pylist())]) for split in _sets(inputs)]
    distance = np.concatenate([search.kneighbors(part)[0][:, -1] for part in both])
    assert 2 - 2 * stored["knn"] == pytest.approx(distance**2, abs=1e-5)
    label = np.r_[np.ones(len(inputs.test)), np.zeros(80)]
    assert figures["auroc@knn"] == pytest.approx(100 * roc_auc_score(label, -distance), abs=0.01)
    assert figures["auroc@knn"] > (80 if k <= 50 else 70)


def test_energy_and_softmax_are_of_the_heads_logits() -> None:
    inputs = world()
    figures, stored = predict(inputs)
    head = judge_of(inputs, PROTOCOL, 0)
    logits = np.concatenate(
        [head.logits(split.features).double().numpy()[np.argsort(split.ids.to_pylist())] for split in _sets(inputs)]
    )
    assert stored["energy"] == pytest.approx(logsumexp(logits, axis=1), rel=1e-6)
    largest = softmax(logits, axis=1).max(axis=1)
    assert stored["msp"] == pytest.approx(logit(largest), rel=1e-4, abs=1e-4)
    label = np.r_[np.ones(len(inputs.test)), np.zeros(80)]
    assert figures["auroc@energy"] == pytest.approx(100 * roc_auc_score(label, logsumexp(logits, axis=1)), abs=1e-6)
    assert figures["auroc@msp"] == pytest.approx(100 * roc_auc_score(label, largest), abs=1e-6)


def test_more_of_the_same_cannot_be_told_apart() -> None:
    inputs = blobs(test=200)
    half = np.arange(len(inputs.test)) % 2 == 0
    parts = [
        SplitFeatures(inputs.test.features[rows], inputs.test.targets[rows], inputs.test.ids.filter(rows))
        for rows in (half, ~half)
    ]
    figures, _ = predict(replace(inputs, test=parts[0], shifted=parts[1]))
    for name in ("knn", "energy", "msp"):
        assert figures[f"auroc@{name}"] == pytest.approx(50, abs=6)
        assert figures[f"fpr95@{name}"] == pytest.approx(95, abs=5)


def test_images_of_either_set_can_be_fewer() -> None:
    inputs = world()
    found = Robustness().predict(inputs, PROTOCOL.model_copy(update={"n": 30}), seed=0)
    assert (found.details["inside_images"], found.details["outside_images"], found.details["k_used"]) == (30, 30, 50)
    rows = {which: [r["sample"] for r in found.table.to_pylist() if r["variant"] == which] for which in ("inside",)}
    assert set(rows["inside"]) < set(inputs.test.ids.to_pylist()) and len(set(rows["inside"])) == 30


def test_features_that_are_not_finite_are_refused() -> None:
    inputs = world()
    assert inputs.shifted is not None
    inputs.shifted.features[3] = torch.nan
    with pytest.raises(DataError, match="finite scores"):
        predict(inputs)


def pair(*names: str, accepted: np.ndarray | None = None) -> Labels:
    found = replace(labels_of(blobs()), classes=("cat", "Sea Lion", "dog", "d", "e", "f"))
    return replace(found, shift=Shift("x", names, accepted))


def test_images_of_the_same_classes_are_not_something_else() -> None:
    task = Robustness()
    task.check(PROTOCOL, pair("sofa", "chair"))
    with pytest.raises(NotApplicable, match="Sea Lion in both"):
        task.check(PROTOCOL, pair("sofa", "sea_lion"))
    accepted = np.zeros((2, 6), bool)
    accepted[1, 2] = True
    with pytest.raises(NotApplicable, match="dog in both"):  # by a class map
        task.check(PROTOCOL, pair("sofa", "hound", accepted=accepted))
    with pytest.raises(NotApplicable, match="cat, dog in both"):
        task.check(PROTOCOL, pair("cat", "hound", accepted=accepted))


def test_train_is_read_whatever_the_head() -> None:
    task = Robustness()
    own = PROTOCOL.model_copy(update={"head": "own"})
    assert task.reads_train(own) and task.asks_shift(own) and "head" in task.needs_of(own)
    assert isinstance(PROTOCOL, OodSettings) and task.headline_of(PROTOCOL, "x", False) == "auroc@knn"


def _sets(inputs: Inputs) -> tuple[SplitFeatures, SplitFeatures]:
    assert inputs.shifted is not None
    return inputs.test, inputs.shifted
